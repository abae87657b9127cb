//! Cutting a page out of one row more than it holds.

use aihub_core::page::{Page, PageRequest};

/// How many rows a page has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window(usize);

impl Window {
    /// What `page` asks for, within 1 and [`PageRequest::MOST`]. A limit of 0 becomes 1: an empty
    /// page would look like the end of the list to whoever walks it.
    pub(crate) fn of<Cursor>(page: &PageRequest<Cursor>) -> Self {
        Self(page.limit.clamp(1, PageRequest::<Cursor>::MOST))
    }

    /// How many rows to fetch: one more than are shown tells whether there is a next page, without
    /// the second query that a count would be.
    pub(crate) const fn fetch(self) -> usize {
        self.0 + 1
    }
}

/// The page of `rows`, which are at most [`Window::fetch`] many.
pub(crate) fn cut<T, Cursor>(mut rows: Vec<T>, window: Window, cursor: impl Fn(&T) -> Cursor) -> Page<T, Cursor> {
    let more = rows.len() > window.0;
    rows.truncate(window.0);
    let next = if more { rows.last().map(cursor) } else { None };
    Page { rows, next }
}
