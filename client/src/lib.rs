//! Public SDK: HTTP (manager, worker, unified) and NATS.
