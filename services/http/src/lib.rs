//! The one HTTP listener: bind policy, TLS, token, limits, error bodies.
