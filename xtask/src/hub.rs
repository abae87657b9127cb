pub(crate) fn main(_: &[String]) -> crate::Result {
    Ok(())
}
