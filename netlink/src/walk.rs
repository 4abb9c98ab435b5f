//! The typed walkers over lists of attributes.
//!
//! Every list that has a type of its own (keys, tunnel keys, actions, …) is walked by an iterator
//! that parses one attribute at a time, allocates nothing, and ends after the first error.
//!
//! Plain values: any thread.

/// Makes `$walker`, which walks a list of attributes and gives `$item`s.
macro_rules! walker {
    ($(#[$doc:meta])* $walker:ident, $item:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default)]
        pub struct $walker<'a>($crate::attr::Attrs<'a>);

        impl<'a> $walker<'a> {
            /// Walks `list`, which begins with an attribute header.
            pub const fn new(list: &'a [u8]) -> Self {
                Self($crate::attr::Attrs::new(list))
            }

            /// The attributes not walked yet, still encoded.
            pub const fn rest(&self) -> &'a [u8] {
                self.0.rest()
            }
        }

        impl<'a> Iterator for $walker<'a> {
            type Item = Result<$item<'a>, $crate::attr::AttrError>;

            fn next(&mut self) -> Option<Self::Item> {
                let item = self.0.next()?.and_then($item::parse);
                if item.is_err() {
                    self.0 = $crate::attr::Attrs::default();
                }
                Some(item)
            }
        }

        impl std::iter::FusedIterator for $walker<'_> {}
    };
}

pub(crate) use walker;
