//! Paging by the key of the last row seen: the only paging there is.

/// Which page of a list is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest<Cursor> {
    /// Only rows after this one; `None` starts at the first.
    pub after: Option<Cursor>,
    /// At most this many rows; a store may cap it at [`PageRequest::MOST`].
    pub limit: usize,
}

impl<Cursor> PageRequest<Cursor> {
    /// The longest page.
    pub const MOST: usize = 1_000;

    /// The first page of at most `limit` rows.
    pub const fn first(limit: usize) -> Self {
        Self { after: None, limit }
    }
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, Cursor> {
    /// The rows, in the order of the list.
    pub rows: Vec<T>,
    /// Where the next page starts; `None` after the last row.
    pub next: Option<Cursor>,
}
