//! Memory that is free goes back to the system.

use std::hint::black_box;

/// Large enough to be a page of the allocator by itself.
const PIECE_BYTES: usize = 4 << 20;

/// Lets the allocator give back what was freed a while ago. It looks whether there is anything when a whole page of its
/// own becomes free; a node that has nothing to do frees none, and would keep what its busiest moment has left. So one is
/// taken, untouched, and freed.
pub(in crate::node) fn give_back() {
    let mut piece = Vec::<u8>::new();
    // Where there is no room for it there is nothing to lose.
    let _taken = piece.try_reserve_exact(PIECE_BYTES);
    drop(black_box(piece));
}
