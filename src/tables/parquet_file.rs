//! Rows to the bytes of a Parquet file. A row group is in memory as values, the file as bytes.

use std::sync::{Arc, LazyLock};

use ::parquet::basic::{Compression, Encoding};
use ::parquet::data_type::{
    ByteArray, ByteArrayType, DataType, FixedLenByteArray, FixedLenByteArrayType, Int32Type,
    Int64Type,
};
use ::parquet::errors::ParquetError;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use ::parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use ::parquet::schema::types::ColumnPath;

use super::schema::{Kind, Table};

/// The rows of a row group.
const GROUP_ROWS: usize = 131_072;
/// The greatest number with 38 decimal digits.
const DECIMAL_MAX: i128 = 10_i128.pow(38) - 1;

/// A value of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// For [`Kind::Long`] and [`Kind::Timestamp`].
    Long(i64),
    /// For [`Kind::Int`].
    Int(i32),
    /// For [`Kind::Text`] and [`Kind::SortedText`].
    Text(&'a str),
    /// For [`Kind::Decimal`].
    Decimal(i128),
    /// For any column that can be null.
    Null,
}

impl<'a> Value<'a> {
    /// A text, or null.
    #[must_use]
    pub(super) fn text_or_null(text: Option<&'a str>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }

    /// A number, or null.
    #[must_use]
    pub(super) fn long_or_null(number: Option<i64>) -> Self {
        number.map_or(Self::Null, Self::Long)
    }
}

/// Why rows cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritable {
    /// A sum has more than 38 digits.
    #[error("the sum {0} has more than 38 digits, which a column of sums cannot hold")]
    Sum(i128),
    /// A position or a count has more than 63 bits.
    #[error("the number {0} has more than 63 bits, which a column of numbers cannot hold")]
    Number(u64),
    /// The Parquet library refuses.
    #[error("a Parquet file cannot be made: {0}")]
    Parquet(#[from] ParquetError),
}

/// A number as a column holds it.
///
/// # Errors
/// [`Unwritable::Number`].
pub(super) fn long(number: u64) -> Result<i64, Unwritable> {
    i64::try_from(number).map_err(|_| Unwritable::Number(number))
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ParquetFile {
    /// Its bytes.
    pub(super) bytes: Vec<u8>,
    /// The number of its rows.
    pub(super) rows: u64,
    /// The least and the greatest value of each column of positions, for readers that skip files.
    pub(super) ranges: Vec<(&'static str, i64, i64)>,
}

/// The values of one column that are not written yet.
enum Values {
    Longs(Vec<i64>),
    Ints(Vec<i32>),
    Texts(Vec<ByteArray>),
    Decimals(Vec<FixedLenByteArray>),
}

struct Pending {
    values: Values,
    /// For each row whether there is a value, if the column can be null.
    present: Option<Vec<i16>>,
    /// The least and the greatest number of the file.
    range: Option<(i64, i64)>,
}

impl Pending {
    fn of(kind: Kind, is_nullable: bool) -> Self {
        let values = match kind {
            Kind::Long | Kind::Timestamp => Values::Longs(Vec::new()),
            Kind::Int => Values::Ints(Vec::new()),
            Kind::Text | Kind::SortedText => Values::Texts(Vec::new()),
            Kind::Decimal => Values::Decimals(Vec::new()),
        };
        Self {
            values,
            present: is_nullable.then(Vec::new),
            range: None,
        }
    }

    fn push(&mut self, value: Value<'_>) -> Result<(), Unwritable> {
        if let Some(present) = &mut self.present {
            present.push(i16::from(value != Value::Null));
        }
        match (&mut self.values, value) {
            (Values::Longs(longs), Value::Long(number)) => {
                longs.push(number);
                let (least, greatest) = self.range.unwrap_or((number, number));
                self.range = Some((least.min(number), greatest.max(number)));
            }
            (Values::Ints(ints), Value::Int(number)) => ints.push(number),
            (Values::Texts(texts), Value::Text(text)) => {
                // Names of processes and kinds repeat: a copy of the value before is a counted reference.
                let before = texts.last().filter(|last| last.data() == text.as_bytes());
                let text = before
                    .cloned()
                    .unwrap_or_else(|| ByteArray::from(text.as_bytes().to_vec()));
                texts.push(text);
            }
            (Values::Decimals(decimals), Value::Decimal(sum)) => {
                if sum.unsigned_abs() > DECIMAL_MAX.unsigned_abs() {
                    return Err(Unwritable::Sum(sum));
                }
                decimals.push(ByteArray::from(sum.to_be_bytes().to_vec()).into());
            }
            (_, Value::Null) if self.present.is_some() => {}
            (_, value) => unreachable!("{value:?} is of another type than its column"),
        }
        Ok(())
    }

    fn write(&mut self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let present = self.present.as_deref();
        match &mut self.values {
            Values::Longs(values) => write::<Int64Type>(column, values, present)?,
            Values::Ints(values) => write::<Int32Type>(column, values, present)?,
            Values::Texts(values) => write::<ByteArrayType>(column, values, present)?,
            Values::Decimals(values) => write::<FixedLenByteArrayType>(column, values, present)?,
        }
        if let Some(present) = &mut self.present {
            present.clear();
        }
        Ok(())
    }
}

fn write<T: DataType>(
    column: &mut SerializedColumnWriter<'_>,
    values: &mut Vec<T::T>,
    present: Option<&[i16]>,
) -> Result<(), ParquetError> {
    column.typed::<T>().write_batch(values, present, None)?;
    values.clear();
    Ok(())
}

/// Writes the rows of one file.
pub(super) struct FileWriter {
    table: Table,
    file: SerializedFileWriter<Vec<u8>>,
    pending: Vec<Pending>,
    /// The rows of the open row group.
    group_rows: usize,
    rows: u64,
}

impl FileWriter {
    /// An empty file of a table.
    ///
    /// # Errors
    /// [`Unwritable`].
    pub(super) fn new(table: Table) -> Result<Self, Unwritable> {
        let columns = table.columns().iter();
        Ok(Self {
            table,
            file: SerializedFileWriter::new(Vec::new(), table.parquet_schema(), properties(table))?,
            pending: columns
                .map(|column| Pending::of(column.kind, column.is_nullable))
                .collect(),
            group_rows: 0,
            rows: 0,
        })
    }

    /// The number of rows so far.
    #[must_use]
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a row with a value for each column.
    ///
    /// # Errors
    /// [`Unwritable`].
    ///
    /// # Panics
    /// If the values are not of the types of the columns.
    pub(super) fn push(&mut self, row: &[Value<'_>]) -> Result<(), Unwritable> {
        assert_eq!(row.len(), self.pending.len(), "a value for each column");
        for (column, value) in self.pending.iter_mut().zip(row) {
            column.push(*value)?;
        }
        self.rows += 1;
        self.group_rows += 1;
        if self.group_rows == GROUP_ROWS {
            self.end_group()?;
        }
        Ok(())
    }

    fn end_group(&mut self) -> Result<(), Unwritable> {
        if self.group_rows == 0 {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        let mut pending = self.pending.iter_mut();
        while let (Some(mut column), Some(pending)) = (group.next_column()?, pending.next()) {
            pending.write(&mut column)?;
            column.close()?;
        }
        group.close()?;
        self.group_rows = 0;
        Ok(())
    }

    /// The finished file.
    ///
    /// # Errors
    /// [`Unwritable`].
    pub(super) fn finish(mut self) -> Result<ParquetFile, Unwritable> {
        self.end_group()?;
        let columns = self.table.columns().iter().zip(&self.pending);
        let ranges = columns.filter_map(|(column, pending)| {
            let (least, greatest) = pending.range.filter(|_| column.kind == Kind::Long)?;
            (!column.is_nullable).then_some((column.name, least, greatest))
        });
        Ok(ParquetFile {
            ranges: ranges.collect(),
            rows: self.rows,
            bytes: self.file.into_inner()?,
        })
    }
}

fn properties(table: Table) -> WriterPropertiesPtr {
    static ALL: LazyLock<Vec<(Table, WriterPropertiesPtr)>> = LazyLock::new(|| {
        let of = |table: Table| (table, Arc::new(properties_of(table)));
        Table::ALL.into_iter().map(of).collect()
    });
    let found = ALL.iter().find(|(one, _)| *one == table);
    found.map_or_else(
        || Arc::new(properties_of(table)),
        |(_, all)| Arc::clone(all),
    )
}

// The same rows give the same bytes: no time and no version of this program is in a file.
fn properties_of(table: Table) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_created_by("snapledger".to_owned())
        .set_compression(Compression::LZ4_RAW)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for column in table.columns() {
        let path = || ColumnPath::from(column.name);
        if column.kind == Kind::SortedText {
            builder = builder
                .set_column_dictionary_enabled(path(), false)
                .set_column_encoding(path(), Encoding::DELTA_BYTE_ARRAY)
                .set_column_statistics_enabled(path(), EnabledStatistics::Page);
        }
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use ::parquet::file::reader::{FileReader as _, SerializedFileReader};
    use ::parquet::record::Field;

    use super::*;

    fn read(file: &ParquetFile) -> Vec<Vec<(String, Field)>> {
        let mut kept = tempfile::tempfile().expect("a temporary file");
        kept.write_all(&file.bytes).expect("there is room");
        let reader = SerializedFileReader::new(kept).expect("it is a Parquet file");
        let rows = reader.get_row_iter(None).expect("it has rows");
        rows.map(|row| {
            let row = row.expect("a row");
            row.get_column_iter()
                .map(|(name, field)| (name.clone(), field.clone()))
                .collect()
        })
        .collect()
    }

    #[test]
    fn rows_read_back_over_several_row_groups_with_nulls_and_great_sums() {
        let mut writer = FileWriter::new(Table::Entries).expect("it begins");
        let count = GROUP_ROWS + 3;
        for position in (0..).take(count) {
            let account = (position % 2 == 0).then(|| format!("a{position}"));
            let row = [
                Value::Text("n\"1"),
                Value::Long(position),
                Value::Int(0),
                Value::Long(position * 10),
                Value::Text("deposit"),
                Value::text_or_null(account.as_deref()),
                Value::Long(7),
                Value::long_or_null(account.as_ref().map(|_| -position)),
                Value::Null,
                Value::Null,
                Value::Null,
                Value::Null,
            ];
            writer.push(&row).expect("it fits");
        }
        let file = writer.finish().expect("it ends");
        let newest = i64::try_from(count - 1).expect("it is small");
        assert!(file.ranges.contains(&("position", 0, newest)));
        let rows = read(&file);
        assert_eq!((file.rows, rows.len()), (rows.len() as u64, count));
        let last = &rows[count - 1];
        assert_eq!(last[0].1, Field::Str("n\"1".to_owned()));
        assert_eq!(last[1].1, Field::Long(newest));
        assert_eq!(last[5].1, Field::Str(format!("a{newest}")));
        assert_eq!(rows[1][5].1, Field::Null);
        assert_eq!(rows[2][7].1, Field::Long(-2));
    }

    #[test]
    fn the_same_rows_give_the_same_bytes() {
        let file = || {
            let mut writer = FileWriter::new(Table::Balances).expect("it begins");
            for account in ["a", "b", "ß"] {
                let row = [
                    Value::Text("n1"),
                    Value::Long(3),
                    Value::Text(account),
                    Value::Long(-1),
                ];
                writer.push(&row).expect("it fits");
            }
            writer.finish().expect("it ends")
        };
        assert_eq!(file(), file());
        assert_eq!(read(&file())[2][2].1, Field::Str("ß".to_owned()));
    }

    #[test]
    fn a_sum_with_too_many_digits_is_refused() {
        let mut pending = Pending::of(Kind::Decimal, false);
        for sum in [0, -1, DECIMAL_MAX, -DECIMAL_MAX] {
            pending.push(Value::Decimal(sum)).expect("38 digits");
        }
        assert!(matches!(
            pending.push(Value::Decimal(DECIMAL_MAX + 1)),
            Err(Unwritable::Sum(_))
        ));
        assert!(pending.push(Value::Decimal(i128::MIN)).is_err());
        assert!(long(u64::MAX).is_err());
    }
}
