//! Tests of the reconciler over a fake kernel.
