//! The five tables and their columns, once for Parquet and once for the Delta log.

use std::sync::Arc;

use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::TypePtr;
use serde_json::{Value, json};

/// A table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// What changed in each recorded state, and sometimes all of it.
    Balances,
    /// A row per process and revision of a snapshot.
    Snapshots,
    /// The messages in the recorded channels.
    ChannelMessages,
    /// Every operation.
    Entries,
    /// Up to where the entries are written, what is missing, and which instants are not known.
    Progress,
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Column {
    /// Its name.
    pub(super) name: &'static str,
    /// Its type.
    pub(super) kind: Kind,
    /// Whether it can be null.
    pub(super) is_nullable: bool,
}

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A number of 64 bits.
    Long,
    /// A number of 32 bits.
    Int,
    /// UTF-8 that repeats.
    Text,
    /// UTF-8 in ascending order.
    SortedText,
    /// Microseconds since the Unix epoch, UTC.
    Timestamp,
    /// 38 decimal digits without a fraction.
    Decimal,
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        is_nullable: false,
    }
}

const fn nullable(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        is_nullable: true,
    }
}

const BALANCES: &[Column] = &[
    column("process", Kind::Text),
    column("cut", Kind::Long),
    column("account", Kind::SortedText),
    column("balance", Kind::Long),
];

const SNAPSHOTS: &[Column] = &[
    column("snapshot_id", Kind::Text),
    nullable("revision", Kind::Long),
    column("status", Kind::Text),
    column("initiator", Kind::Text),
    column("initiated_at", Kind::Timestamp),
    column("parts", Kind::Int),
    column("process", Kind::Text),
    column("cut", Kind::Long),
    column("base_cut", Kind::Long),
    column("recorded_at", Kind::Timestamp),
    column("accounts", Kind::Long),
    column("balance_total", Kind::Decimal),
    column("deposits", Kind::Decimal),
    column("withdrawals", Kind::Decimal),
    nullable("root", Kind::Text),
];

const CHANNEL_MESSAGES: &[Column] = &[
    column("snapshot_id", Kind::Text),
    column("from_process", Kind::Text),
    column("to_process", Kind::Text),
    column("sequence", Kind::Long),
    column("kind", Kind::Text),
    nullable("transfer_id", Kind::Text),
    nullable("from_account", Kind::Text),
    nullable("to_account", Kind::Text),
    nullable("amount", Kind::Long),
];

const ENTRIES: &[Column] = &[
    column("process", Kind::Text),
    column("position", Kind::Long),
    column("ordinal", Kind::Int),
    column("time", Kind::Timestamp),
    column("op", Kind::Text),
    nullable("account", Kind::Text),
    column("amount", Kind::Long),
    nullable("balance_after", Kind::Long),
    nullable("counterparty", Kind::Text),
    nullable("counterparty_process", Kind::Text),
    nullable("transfer_id", Kind::Text),
    nullable("meant_for", Kind::Text),
];

const PROGRESS: &[Column] = &[
    column("process", Kind::Text),
    column("position", Kind::Long),
    column("time", Kind::Timestamp),
    nullable("gap_from", Kind::Long),
    nullable("gap_to", Kind::Long),
    nullable("lost_from", Kind::Long),
    nullable("lost_to", Kind::Long),
    nullable("unknown_from", Kind::Timestamp),
    nullable("unknown_until", Kind::Timestamp),
];

impl Table {
    /// All tables, in the order in which they are written: a snapshot is visible when everything of it is there.
    pub(super) const ALL: [Self; 5] = [
        Self::Entries,
        Self::Progress,
        Self::Balances,
        Self::ChannelMessages,
        Self::Snapshots,
    ];

    /// Its name, also that of its folder.
    #[must_use]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Balances => "balances",
            Self::Snapshots => "snapshots",
            Self::ChannelMessages => "channel_messages",
            Self::Entries => "entries",
            Self::Progress => "progress",
        }
    }

    /// Its columns, in order.
    #[must_use]
    pub(super) fn columns(self) -> &'static [Column] {
        match self {
            Self::Balances => BALANCES,
            Self::Snapshots => SNAPSHOTS,
            Self::ChannelMessages => CHANNEL_MESSAGES,
            Self::Entries => ENTRIES,
            Self::Progress => PROGRESS,
        }
    }

    /// Its schema in Parquet.
    ///
    /// # Panics
    /// Never: the columns are constants, and a test reads each schema.
    #[must_use]
    pub(super) fn parquet_schema(self) -> TypePtr {
        let column = |column: &Column| {
            let repetition = if column.is_nullable {
                "optional"
            } else {
                "required"
            };
            let (physical, logical) = match column.kind {
                Kind::Long => ("int64", ""),
                Kind::Int => ("int32", ""),
                Kind::Text | Kind::SortedText => ("binary", " (STRING)"),
                Kind::Timestamp => ("int64", " (TIMESTAMP(MICROS,true))"),
                Kind::Decimal => ("fixed_len_byte_array (16)", " (DECIMAL(38,0))"),
            };
            format!("{repetition} {physical} {}{logical};", column.name)
        };
        let columns: Vec<String> = self.columns().iter().map(column).collect();
        let message = format!("message {} {{ {} }}", self.name(), columns.join(" "));
        let schema = parse_message_type(&message).expect("the columns are constants that parse");
        Arc::new(schema)
    }

    /// Its schema in the Delta log.
    #[must_use]
    pub(super) fn delta_schema(self) -> Value {
        let field = |column: &Column| {
            let kind = match column.kind {
                Kind::Long => "long",
                Kind::Int => "integer",
                Kind::Text | Kind::SortedText => "string",
                Kind::Timestamp => "timestamp",
                Kind::Decimal => "decimal(38,0)",
            };
            let nullable = column.is_nullable;
            json!({"name": column.name, "type": kind, "nullable": nullable, "metadata": {}})
        };
        let fields: Vec<Value> = self.columns().iter().map(field).collect();
        json!({"type": "struct", "fields": fields})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_schema_has_all_columns_in_both_forms() {
        for table in Table::ALL {
            let schema = table.parquet_schema();
            let names: Vec<&str> = schema.get_fields().iter().map(|one| one.name()).collect();
            let columns: Vec<&str> = table.columns().iter().map(|one| one.name).collect();
            assert_eq!(names, columns);
            let delta = table.delta_schema();
            let fields = delta["fields"].as_array().expect("a list");
            assert_eq!(fields.len(), columns.len());
        }
    }
}
