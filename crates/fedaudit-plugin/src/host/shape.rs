//! What can be told of Arrow structures before arrow reads them: pointers that are NULL where none may be, and numbers that
//! no array has. Arrow follows them without a look.

use std::ffi::{c_char, c_void};

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema};
use fedaudit_core::Result;

use super::import::wrong;

/// Columns are not nested deeper.
const DEEPEST: usize = 8;
/// No array has more children, or more buffers.
const MOST: i64 = 4096;

/// `struct ArrowSchema` of the C Data Interface.
#[repr(C)]
struct Schema {
    format: *const c_char,
    name: *const c_char,
    metadata: *const c_char,
    flags: i64,
    n_children: i64,
    children: *mut *mut Self,
    dictionary: *mut Self,
    release: Option<unsafe extern "C" fn(*mut Self)>,
    private_data: *mut c_void,
}

/// `struct ArrowArray` of the C Data Interface.
#[repr(C)]
struct Array {
    length: i64,
    null_count: i64,
    offset: i64,
    n_buffers: i64,
    n_children: i64,
    buffers: *mut *const c_void,
    children: *mut *mut Self,
    dictionary: *mut Self,
    release: Option<unsafe extern "C" fn(*mut Self)>,
    private_data: *mut c_void,
}

const _: () = assert!(size_of::<Schema>() == size_of::<FFI_ArrowSchema>());
const _: () = assert!(size_of::<Array>() == size_of::<FFI_ArrowArray>());

/// Refuses what arrow would stumble over.
pub(super) fn check(schema: &FFI_ArrowSchema, array: &FFI_ArrowArray) -> Result<()> {
    // SAFETY: both are of the layout that the specification gives them.
    let (schema, array) = unsafe { (&*(&raw const *schema).cast::<Schema>(), &*(&raw const *array).cast::<Array>()) };
    walk(schema, array, 0)
}

fn walk(schema: &Schema, array: &Array, depth: usize) -> Result<()> {
    let refuse = |text: &str| Err(wrong(text.to_owned()));
    if depth > DEEPEST {
        return refuse("they are nested too deep");
    }
    if schema.release.is_none() || array.release.is_none() {
        return refuse("a part of them is released already");
    }
    if schema.format.is_null() {
        return refuse("a format is NULL");
    }
    if array.length < 0 || array.offset < 0 || array.null_count < -1 {
        return refuse("a length, an offset or a count of NULLs is negative");
    }
    let most = array.n_children.max(array.n_buffers);
    if array.n_children < 0 || array.n_buffers < 0 || most > MOST || schema.n_children != array.n_children {
        return refuse("they have other children than their schema");
    }
    if (array.n_buffers > 0 && array.buffers.is_null())
        || (array.n_children > 0 && (array.children.is_null() || schema.children.is_null()))
    {
        return refuse("a list of children or of buffers is NULL");
    }
    for place in 0..usize::try_from(array.n_children).unwrap_or(0) {
        // SAFETY: there are so many, as both sides say.
        let (schema, array) =
            unsafe { ((*schema.children.add(place)).as_ref(), (*array.children.add(place)).as_ref()) };
        let (Some(schema), Some(array)) = (schema, array) else { return refuse("a child is NULL") };
        walk(schema, array, depth + 1)?;
    }
    // SAFETY: NULL, or what the specification says.
    match unsafe { (schema.dictionary.as_ref(), array.dictionary.as_ref()) } {
        (None, None) => Ok(()),
        (Some(schema), Some(array)) => walk(schema, array, depth + 1),
        _ => refuse("a dictionary is NULL"),
    }
}
