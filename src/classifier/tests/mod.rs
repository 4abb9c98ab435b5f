//! Tests of the classifier.

mod peer;
mod properties;
