//! Sabotaged worlds, which prove that the checkers detect what they are for.

/// The kind of sabotage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A turn is released once it is written, before it is durable.
    ReleaseBeforeSync,
    /// A marker overtakes messages waiting for the same channel.
    MarkerOvertakes,
    /// A recorded state has the credits, but the delivered positions of an earlier one.
    DeliveredApart,
    /// A crash also loses synced writes.
    LyingDisk,
    /// A part omits some of the recorded messages.
    RecordedMessageLeftOut,
    /// A process loses its remembered answers when it restarts.
    AnswersForgotten,
    /// Received times are followed without a bound.
    ClocksFollowed,
    /// An older copy of a store answers for the turns that it lacks.
    GapTakenForKnown,
    /// An older copy of a store answers before it has recognized its peers.
    CopyAnswersAtOnce,
    /// A store that begins after an instant answers for it that its process had not joined the cluster, whatever others know.
    LaterTakenAtItsWord,
    /// A turn is released before the archive has it.
    ReleaseBeforeArchived,
    /// A writer takes any object at the index of its put for its own.
    ExistsTakenForOwn,
    /// A writer that was fenced off fences again, as if it did not look for later epochs.
    LaterEpochIgnored,
    /// The fence of a restored store is deleted.
    FenceDeleted,
    /// Retention in the archive deletes segments before the boundary is there that says so.
    DeletedBeforeBoundary,
    /// Retention in the archive does not ask what the state still needs from which the journal is to begin.
    NeededFromIgnored,
}

impl Sabotage {
    /// All kinds, with the names of their tests.
    pub(crate) const ALL: &[(Self, &str)] = &[
        (
            Self::ReleaseBeforeSync,
            "a_release_before_the_sync_is_caught",
        ),
        (
            Self::MarkerOvertakes,
            "a_marker_outside_the_sequence_is_caught",
        ),
        (
            Self::DeliveredApart,
            "a_delivered_position_apart_from_the_credit_is_caught",
        ),
        (
            Self::LyingDisk,
            "a_disk_that_forgets_what_was_synced_is_caught",
        ),
        (
            Self::RecordedMessageLeftOut,
            "a_recorded_message_left_out_is_caught",
        ),
        (Self::AnswersForgotten, "a_forgotten_answer_is_caught"),
        (
            Self::ClocksFollowed,
            "a_clock_that_follows_a_wrong_one_is_caught",
        ),
        (
            Self::GapTakenForKnown,
            "an_older_copy_that_answers_for_what_it_lacks_is_caught",
        ),
        (
            Self::CopyAnswersAtOnce,
            "an_older_copy_that_answers_before_it_has_caught_up_is_caught",
        ),
        (
            Self::LaterTakenAtItsWord,
            "a_new_store_taken_for_a_new_process_is_caught",
        ),
        (
            Self::ReleaseBeforeArchived,
            "a_release_before_the_archive_is_caught",
        ),
        (
            Self::ExistsTakenForOwn,
            "an_object_of_another_taken_for_the_own_is_caught",
        ),
        (
            Self::LaterEpochIgnored,
            "a_writer_that_ignores_later_ones_is_caught",
        ),
        (Self::FenceDeleted, "a_deleted_fence_is_caught"),
        (
            Self::DeletedBeforeBoundary,
            "a_deletion_before_the_boundary_is_caught",
        ),
        (
            Self::NeededFromIgnored,
            "a_retention_that_ignores_what_is_needed_is_caught",
        ),
    ];

    /// Whether it is about the archive.
    pub(crate) fn is_of_archive(self) -> bool {
        matches!(
            self,
            Self::ReleaseBeforeArchived
                | Self::ExistsTakenForOwn
                | Self::LaterEpochIgnored
                | Self::FenceDeleted
        ) || self.is_of_retention()
    }

    /// Whether it is about retention in the archive.
    pub(crate) fn is_of_retention(self) -> bool {
        matches!(self, Self::DeletedBeforeBoundary | Self::NeededFromIgnored)
    }
}
