//! Returns free memory to the system.

use std::hint::black_box;

/// The size of an allocation that fills a page of the allocator by itself.
const PIECE_BYTES: usize = 4 << 20;

/// Triggers the allocator to return memory that was freed some time ago. It checks for such memory only when one of its pages
/// becomes free; an idle node frees none and would keep the memory of its peak load. So one page is allocated, untouched, and
/// freed.
pub(in crate::node) fn give_back() {
    let mut piece = Vec::<u8>::new();
    // A failed allocation is harmless.
    let _taken = piece.try_reserve_exact(PIECE_BYTES);
    drop(black_box(piece));
}
