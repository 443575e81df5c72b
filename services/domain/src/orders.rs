//! What workers shall do, derived from events and from the state.
