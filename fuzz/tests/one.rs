#[test]
fn one() {
    let Some(f) = std::env::var_os("ONE") else { return };
    fuzz::session::run(&std::fs::read(f).unwrap());
}
