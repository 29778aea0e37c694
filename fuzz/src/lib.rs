//! What the fuzz targets hold against the code, and the seeds that they start from.

pub mod codec;
pub mod cookie;
pub mod seeds;
