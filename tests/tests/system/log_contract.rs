//! What every bus must do, whether it is NATS or memory.
