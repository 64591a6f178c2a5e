pub mod metrics;
pub mod store;
