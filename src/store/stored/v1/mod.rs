//! The stored types of format 1. Frozen: once released, a field or variant never changes; a change is a `v2` type and a
//! step in `migrations/`. A variant may be appended to an enumeration under a new format number: older data decodes as
//! before, and older programs refuse the store because of its number.
//!
//! The program works with the types of `process` and `history`; [`Frozen`] converts between the two.

pub(in crate::store) mod channel;
pub(in crate::store) mod global;
pub(in crate::store) mod part;
#[cfg(test)]
mod round_trip;
pub(in crate::store) mod state;
pub(in crate::store) mod stretch;
pub(in crate::store) mod turn;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{
    AccountId, Amount, Hash, Key, Lsn, ProcessId, RequestId, Seq, SnapshotId,
};

/// The stored form of a type that the program works with.
pub(in crate::store) trait Frozen<Live>: Sized {
    fn freeze(live: &Live) -> Self;
    fn thaw(self) -> Live;
}

macro_rules! as_it_is {
    ($($name:ty),* $(,)?) => {$(
        impl Frozen<$name> for $name {
            fn freeze(live: &$name) -> Self {
                live.clone()
            }
            fn thaw(self) -> $name {
                self
            }
        }
    )*};
}

as_it_is!(
    bool,
    u8,
    u32,
    u64,
    i64,
    i128,
    [u8; 16],
    Box<str>,
    String,
    AccountId,
    Amount,
    Hash,
    Hlc,
    Key,
    Lamport,
    Lsn,
    ProcessId,
    RequestId,
    Seq,
    SnapshotId,
);

impl<L, F: Frozen<L>> Frozen<Vec<L>> for Vec<F> {
    fn freeze(live: &Vec<L>) -> Self {
        live.iter().map(F::freeze).collect()
    }
    fn thaw(self) -> Vec<L> {
        self.into_iter().map(F::thaw).collect()
    }
}

impl<L, F: Frozen<L>> Frozen<VecDeque<L>> for Vec<F> {
    fn freeze(live: &VecDeque<L>) -> Self {
        live.iter().map(F::freeze).collect()
    }
    fn thaw(self) -> VecDeque<L> {
        self.into_iter().map(F::thaw).collect()
    }
}

impl<L, F: Frozen<L>> Frozen<Option<L>> for Option<F> {
    fn freeze(live: &Option<L>) -> Self {
        live.as_ref().map(F::freeze)
    }
    fn thaw(self) -> Option<L> {
        self.map(F::thaw)
    }
}

impl<L, F: Frozen<L>> Frozen<Arc<L>> for Box<F> {
    fn freeze(live: &Arc<L>) -> Self {
        Self::new(F::freeze(live))
    }
    fn thaw(self) -> Arc<L> {
        Arc::new((*self).thaw())
    }
}

impl<L, F: Frozen<L>> Frozen<Box<L>> for Box<F> {
    fn freeze(live: &Box<L>) -> Self {
        Self::new(F::freeze(live))
    }
    fn thaw(self) -> Box<L> {
        Box::new((*self).thaw())
    }
}

impl<A, B, FA: Frozen<A>, FB: Frozen<B>> Frozen<(A, B)> for (FA, FB) {
    fn freeze(live: &(A, B)) -> Self {
        (FA::freeze(&live.0), FB::freeze(&live.1))
    }
    fn thaw(self) -> (A, B) {
        (self.0.thaw(), self.1.thaw())
    }
}

impl<A, B, FA: Frozen<A>, FB: Frozen<B>> Frozen<Result<A, B>> for Result<FA, FB> {
    fn freeze(live: &Result<A, B>) -> Self {
        live.as_ref().map(FA::freeze).map_err(FB::freeze)
    }
    fn thaw(self) -> Result<A, B> {
        self.map(FA::thaw).map_err(FB::thaw)
    }
}

impl<K: Clone + Ord, L, F: Frozen<L>> Frozen<BTreeMap<K, L>> for BTreeMap<K, F> {
    fn freeze(live: &BTreeMap<K, L>) -> Self {
        let freeze = |(key, value): (&K, &L)| (key.clone(), F::freeze(value));
        live.iter().map(freeze).collect()
    }
    fn thaw(self) -> BTreeMap<K, L> {
        self.into_iter()
            .map(|(key, value)| (key, value.thaw()))
            .collect()
    }
}

/// Declares the stored form of a structure, field by field.
macro_rules! frozen_struct {
    ($name:ident = $live:path { $($field:ident : $form:ty),* $(,)? }) => {
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub(in crate::store) struct $name {
            $(pub(in crate::store) $field: $form,)*
        }

        impl $crate::store::stored::v1::Frozen<$live> for $name {
            fn freeze(live: &$live) -> Self {
                Self { $($field: $crate::store::stored::v1::Frozen::freeze(&live.$field),)* }
            }
            fn thaw(self) -> $live {
                $live { $($field: $crate::store::stored::v1::Frozen::thaw(self.$field),)* }
            }
        }
    };
}

/// Declares the stored form of an enumeration, variant by variant; their order determines their number in the store.
macro_rules! frozen_enum {
    ($name:ident = $live:path {
        $($variant:ident $({ $($field:ident : $form:ty),* $(,)? })? $(( $inner:ident : $inner_form:ty ))?),* $(,)?
    }) => {
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        pub(in crate::store) enum $name {
            $($variant $({ $($field: $form),* })? $(( $inner_form ))?,)*
        }

        impl $crate::store::stored::v1::Frozen<$live> for $name {
            fn freeze(live: &$live) -> Self {
                use $live as Live;
                match live {
                    $(Live::$variant $({ $($field),* })? $(( $inner ))? => Self::$variant
                        $({ $($field: $crate::store::stored::v1::Frozen::freeze($field)),* })?
                        $(( $crate::store::stored::v1::Frozen::freeze($inner) ))?,)*
                }
            }
            fn thaw(self) -> $live {
                use $live as Live;
                match self {
                    $(Self::$variant $({ $($field),* })? $(( $inner ))? => Live::$variant
                        $({ $($field: $crate::store::stored::v1::Frozen::thaw($field)),* })?
                        $(( $crate::store::stored::v1::Frozen::thaw($inner) ))?,)*
                }
            }
        }
    };
}

pub(in crate::store) use {frozen_enum, frozen_struct};
