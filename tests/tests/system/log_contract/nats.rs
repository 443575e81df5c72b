//! What only NATS must do: be fit, and go away and come back without anybody losing anything.
