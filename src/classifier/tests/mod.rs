//! Tests of the classifier.

mod properties;
