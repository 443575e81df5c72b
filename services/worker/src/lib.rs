//! Agent, runtimes, reports, logs, host metrics, its HTTP.
