//! Projector, views, routes.
