//! Worlds that are wrong on purpose: the proof that the checkers see what they are for.

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// A turn is released when it is written, not when it is durable.
    ReleaseBeforeSync,
    /// A marker overtakes the messages that wait for the same channel.
    MarkerOvertakes,
    /// A recorded state holds the credits, and the delivered positions of an earlier one.
    DeliveredApart,
    /// A crash also takes what was synced.
    LyingDisk,
    /// Part of the recorded messages is left out of a part.
    RecordedMessageLeftOut,
    /// A process forgets what it has answered when it restarts.
    AnswersForgotten,
    /// A received time pulls the clock as far as it is ahead.
    ClocksFollowed,
    /// An older copy of a store answers for what it lacks.
    GapTakenForKnown,
    /// An older copy of a store answers before it has met its peers.
    CopyAnswersAtOnce,
}

impl Sabotage {
    /// All of them, with what a test of each is called.
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
    ];
}
