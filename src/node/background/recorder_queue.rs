//! The queue from the committer to the recorder. Sealed states are large: if the disk is slower than they are sealed, turns
//! wait before memory fills up.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use tokio::runtime::Handle as Runtime;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::process::recording::Recording;
use crate::process::registers::Sealed;

/// The pending work, in order of occurrence.
pub(in crate::node) enum Work {
    /// A sealed state, with the permit for its cells.
    Sealed(Sealed, OwnedSemaphorePermit),
    /// A recording whose channels are all closed.
    Finished(Recording),
    /// Full segments of the account index.
    Stretches,
}

/// The sending side.
pub(in crate::node) struct RecorderQueue {
    work: Sender<Work>,
    cells_max: u32,
    room: Arc<Semaphore>,
    runtime: Runtime,
}

impl RecorderQueue {
    /// A queue with space for `cells_max` cells of sealed states. Recordings are small, and the process bounds their number.
    pub(in crate::node) fn new(cells_max: u32, runtime: Runtime) -> (Self, Receiver<Work>) {
        let (work, queue) = mpsc::channel();
        let room = usize::try_from(cells_max).unwrap_or(Semaphore::MAX_PERMITS);
        let backlog = Self {
            work,
            cells_max,
            room: Arc::new(Semaphore::new(room)),
            runtime,
        };
        (backlog, queue)
    }

    /// Queues a sealed state, blocking until there is space. A state larger than the whole space waits until the queue is empty
    /// of states.
    pub(in crate::node) fn push_sealed(&self, sealed: Sealed) {
        let cells = u32::try_from(sealed.cells.len() + 1).unwrap_or(self.cells_max);
        let room = Arc::clone(&self.room).acquire_many_owned(cells.min(self.cells_max));
        let room = self.runtime.block_on(room);
        let room = room.expect("the room is never closed");
        self.push(Work::Sealed(sealed, room));
    }

    /// Queues a recording to be stored as a part.
    pub(in crate::node) fn push_finished(&self, recording: Recording) {
        self.push(Work::Finished(recording));
    }

    /// Queues the writing of full segments of the account index.
    pub(in crate::node) fn push_stretches(&self) {
        self.push(Work::Stretches);
    }

    // The recorder outlives its senders unless it has failed, and then the node is stopping.
    fn push(&self, work: Work) {
        let _gone = self.work.send(work);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::cell::{Cell, CellChanges};
    use crate::process::clock::Hlc;
    use crate::process::ids::AccountId;
    use crate::process::registers::Registers;

    const SHORT: Duration = Duration::from_millis(100);
    const LONG: Duration = Duration::from_secs(60);

    fn sealed(cells: usize) -> Sealed {
        let account = AccountId::parse("a").expect("a valid id");
        let cell = Cell::Account {
            account,
            balance: 1,
        };
        Sealed {
            snapshot: None,
            time: Hlc::default(),
            registers: Registers::default(),
            accounts: 1,
            balance_total: 1,
            cells: CellChanges::of(vec![vec![cell; cells]]),
        }
    }

    // Without this, sealed states pile up in memory while the recorder is busy.
    #[test]
    fn what_is_sealed_waits_for_room_and_goes_on_when_there_is() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let (backlog, queue) = RecorderQueue::new(10, runtime.handle().clone());
        let (pushed, pushes) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            for cells in [4, 4, 4, 99] {
                backlog.push_sealed(sealed(cells));
                pushed.send(cells).expect("the test listens");
            }
        });
        for _ in 0..2 {
            assert_eq!(pushes.recv_timeout(LONG), Ok(4));
        }
        assert!(pushes.recv_timeout(SHORT).is_err(), "there is no room");
        drop(queue.recv().expect("work waits"));
        assert_eq!(pushes.recv_timeout(LONG), Ok(4));
        assert!(pushes.recv_timeout(SHORT).is_err(), "it needs all the room");
        drop((queue.recv(), queue.recv()));
        assert_eq!(pushes.recv_timeout(LONG), Ok(99));
        drop(queue);
        thread.join().expect("it has ended");
    }

    // Without this, a failed recorder would keep the committer, and the node, from ending.
    #[test]
    fn nobody_waits_for_a_recorder_that_is_gone() {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.expect("a runtime");
        let (backlog, queue) = RecorderQueue::new(3, runtime.handle().clone());
        backlog.push_sealed(sealed(9));
        drop(queue);
        backlog.push_sealed(sealed(9));
    }
}
