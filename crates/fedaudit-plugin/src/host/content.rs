//! Whether values are what their types say: texts UTF-8, offsets in order. Decides as arrow's own validation does, but looks
//! at a column as a whole before it looks at each text: rows cross by the million, and nearly all of them are right.

use arrow_data::ArrayData;
use arrow_schema::{ArrowError, DataType};

/// Refuses values that arrow must not be shown: it reads texts and follows offsets without a look. How long the buffers are
/// must be looked at before, by [`ArrayData::validate`].
pub(crate) fn check(data: &ArrayData) -> Result<(), ArrowError> {
    data.validate_nulls()?;
    let are_right = match data.data_type() {
        DataType::Utf8 => are_texts(data),
        DataType::List(_) => data.child_data().first().is_some_and(|items| are_in_order(data, items.len())),
        DataType::Struct(_) | DataType::Boolean | DataType::Timestamp(..) => true,
        kind if kind.is_integer() || kind.is_floating() => true,
        _ => false,
    };
    // What is not plainly right may be so for another reason, and what is wrong is to be named: both takes longer.
    if !are_right {
        data.validate_values()?;
    }
    data.child_data().iter().try_for_each(check)
}

/// The offsets of texts and lists, if there are any.
fn offsets(data: &ArrayData) -> Option<&[i32]> {
    (data.len() > 0).then(|| data.buffer::<i32>(0)).and_then(|offsets| offsets.get(..=data.len()))
}

fn are_in_order(data: &ArrayData, end: usize) -> bool {
    let Some(offsets @ [first, .., last]) = offsets(data) else { return false };
    // No way out before the end: so it is done for many at a time.
    let ascend = offsets.windows(2).fold(true, |so_far, pair| so_far & (pair[0] <= pair[1]));
    ascend && *first >= 0 && usize::try_from(*last).is_ok_and(|last| last <= end)
}

fn are_texts(data: &ArrayData) -> bool {
    let Some(bytes) = data.buffers().get(1).map(|buffer| buffer.as_slice()) else { return false };
    if !are_in_order(data, bytes.len()) {
        return false;
    }
    let Some(offsets @ [first, .., last]) = offsets(data) else { return false };
    let Some(used) = bytes.get(*first as usize..*last as usize) else { return false };
    // Nobody can tell how long memory of another library really is: offsets that lead out of it reach bytes that are no text,
    // and both of these stop at the first of them.
    let begins_letter = |offset: &i32| bytes.get(*offset as usize).is_none_or(|byte| byte & 0xc0 != 0x80);
    used.is_ascii() || (simdutf8::compat::from_utf8(used).is_ok() && offsets.iter().all(begins_letter))
}

#[cfg(test)]
mod tests {
    use arrow_array::{Array as _, ListArray, RecordBatch, StringArray, StructArray, builder};
    use arrow_buffer::Buffer;
    use fedaudit_core::rows::{EventBuilder, EventRow};

    use super::*;

    fn texts(offsets: Vec<i32>, bytes: &[u8]) -> ArrayData {
        let rows = offsets.len() - 1;
        let data = ArrayData::builder(DataType::Utf8).len(rows).add_buffer(Buffer::from_vec(offsets));
        // SAFETY: only looked at by what is to refuse it.
        unsafe { data.add_buffer(Buffer::from(bytes)).build_unchecked() }
    }

    /// Arrow's own validation is what this must agree with.
    fn agrees(data: &ArrayData) -> bool {
        let (ours, arrows) = (data.validate().and_then(|()| check(data)), data.validate_full());
        assert_eq!(ours.is_ok(), arrows.is_ok(), "{ours:?} {arrows:?}");
        ours.is_ok()
    }

    #[test]
    fn right_texts_are_right() {
        assert!(agrees(&texts(vec![0, 2, 2, 5], b"abcde")));
        assert!(agrees(&texts(vec![0, 2, 4], "äö".as_bytes())));
        assert!(agrees(&texts(vec![1, 3], b"\xffab\xff")), "what no text reaches is nobody's");
        assert!(agrees(&StringArray::from(vec![Some("ä"), None, Some("")]).into_data()));
        assert!(agrees(&StringArray::from(vec!["ä", "b", "ö"]).slice(1, 2).into_data()));
        assert!(agrees(&StringArray::from(Vec::<&str>::new()).into_data()));
    }

    #[test]
    fn wrong_texts_are_wrong() {
        assert!(!agrees(&texts(vec![0, 1, 2], "ä".as_bytes())), "half a letter");
        assert!(!agrees(&texts(vec![0, 1], b"\xff")));
        assert!(!agrees(&texts(vec![0, 3, 1, 5], b"abcde")), "backwards");
        assert!(!agrees(&texts(vec![0, 9, 5], b"abcde")), "too far in the middle");
        assert!(!agrees(&texts(vec![0, 6], b"abcde")), "too far at the end");
        assert!(!agrees(&texts(vec![-1, 5], b"abcde")));
    }

    #[test]
    fn nothing_slips_through_that_arrow_would_refuse() {
        // Every byte of every buffer of a small array, changed in turn.
        let mut lists = builder::ListBuilder::new(builder::StringBuilder::new());
        for list in [&["a", "ö"][..], &[], &["bc"]] {
            list.iter().for_each(|item| lists.values().append_value(item));
            lists.append(true);
        }
        let lists: ListArray = lists.finish();
        let mut rows = EventBuilder::new("s");
        for user in ["jörg", "kim"] {
            rows.push(&[Some(user)], &[], &EventRow { user_name: Some(user), raw: "{}", ..EventRow::new() });
        }
        let rows: RecordBatch = rows.finish().unwrap();
        let mut wrong = 0;
        for data in [lists.into_data(), StructArray::from(rows).into_data()] {
            assert!(agrees(&data));
            wrong += changed(&data).iter().filter(|data| !agrees(data)).count();
        }
        assert!(wrong > 200, "{wrong} arrays were wrong");
    }

    /// The array with one byte changed, for every byte of it and of its children.
    fn changed(data: &ArrayData) -> Vec<ArrayData> {
        let with = |buffers: Vec<Buffer>, children: Vec<ArrayData>| {
            let made = data.clone().into_builder().buffers(buffers).child_data(children);
            // SAFETY: only looked at by what is to refuse it.
            unsafe { made.build_unchecked() }
        };
        let mut all = Vec::new();
        for place in 0..data.buffers().len() {
            for byte in 0..data.buffers()[place].len() {
                for value in [0x01, 0x80, 0xff] {
                    let mut bytes = data.buffers()[place].to_vec();
                    bytes[byte] ^= value;
                    let mut buffers = data.buffers().to_vec();
                    buffers[place] = Buffer::from(bytes.as_slice());
                    all.push(with(buffers, data.child_data().to_vec()));
                }
            }
        }
        for (place, child) in data.child_data().iter().enumerate() {
            for child in changed(child) {
                let mut children = data.child_data().to_vec();
                children[place] = child;
                all.push(with(data.buffers().to_vec(), children));
            }
        }
        all
    }
}
