//! Paths against a document; results as json-path 2.0 (Debian's `libjsonpath-java`) gives them, where it knows the feature.
#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use sluice_jsonpath::{Budget, Heap, Out, Path, ReadError, parse, write_json};

const STORE: &str = r#"{
  "store": {
    "book": [
      {"category": "reference", "author": "Nigel", "title": "Sayings", "price": 8.95},
      {"category": "fiction", "author": "Evelyn", "title": "Sword", "price": 12.99, "isbn": null},
      {"category": "fiction", "author": "Herman", "title": "Moby Dick", "isbn": "0-553", "price": 8.99}
    ],
    "bicycle": {"color": "red", "price": 19.95}
  },
  "expensive": 10, "n": [3, 1, 2], "s": "a/b", "o": {"a": 1, "b": {"c": [1, {"c": 2}]}}, "e": [], "nul": null
}"#;

fn read(path: &str) -> Option<String> {
    let mut heap = Heap::new(10_000);
    let root = parse(STORE, &mut heap).unwrap();
    let found = Path::parse(path).unwrap().read(&mut heap, &root, &mut Budget::new(10_000)).unwrap()?;
    let mut out = Out::new(10_000);
    write_json(&heap, &found, &mut out).unwrap();
    Some(out.into_string())
}

fn check(cases: &[(&str, &str)]) {
    for (path, expected) in cases {
        assert_eq!(read(path).as_deref(), Some(*expected), "{path}");
    }
}

#[test]
fn steps() {
    check(&[
        ("$.store.bicycle", r#"{"color":"red","price":19.95}"#),
        ("$['store']['bicycle']", r#"{"color":"red","price":19.95}"#),
        ("store.bicycle.color", r#""red""#),
        ("$.store.bicycle['price','color']", r#"{"price":19.95,"color":"red"}"#),
        ("$.store.book[*].author", r#"["Nigel","Evelyn","Herman"]"#),
        (
            "$.store.book[*]['title','price']",
            r#"[{"title":"Sayings","price":8.95},{"title":"Sword","price":12.99},{"title":"Moby Dick","price":8.99}]"#,
        ),
        ("$.o.*", r#"[1,{"c":[1,{"c":2}]}]"#),
        ("$.store.book[ 0 ].title", r#""Sayings""#),
        ("$.n[-1]", "2"),
        ("$.n[ 0 , 2 ]", "[3,2]"),
        ("$.n[-2:]", "[1,2]"),
        ("$.n[:-1]", "[3,1]"),
        ("$.n[0:10]", "[3,1,2]"),
        ("$.nul", "null"),
        ("$.e[*]", "[]"),
        ("$.s[*]", "[]"),
        ("$.missing[*]", "[]"),
        ("$.store.book[*].isbn", r#"[null,"0-553"]"#),
    ]);
}

#[test]
fn scans() {
    check(&[
        ("$..author", r#"["Nigel","Evelyn","Herman"]"#),
        ("$.store..price", "[8.95,12.99,8.99,19.95]"),
        ("$..book[2].title", r#"["Moby Dick"]"#),
        ("$..book[0,1].title", r#"["Sayings","Sword"]"#),
        ("$..book[:2].title", r#"["Sayings","Sword"]"#),
        ("$.o..c", r#"[[1,{"c":2}],2]"#),
        ("$.o..*", r#"[1,{"c":[1,{"c":2}]},[1,{"c":2}],1,{"c":2},2]"#),
        ("$..missing", "[]"),
        (
            "$..['author','title']",
            r#"[{"author":"Nigel","title":"Sayings"},{"author":"Evelyn","title":"Sword"},{"author":"Herman","title":"Moby Dick"}]"#,
        ),
    ]);
}

#[test]
fn filters() {
    check(&[
        ("$..book[?(@.isbn)].title", r#"["Moby Dick"]"#),
        ("$..book[?(!@.isbn)].title", r#"["Sayings","Sword"]"#),
        ("$.store.book[?(@.price < 10)].title", r#"["Sayings","Moby Dick"]"#),
        ("$..book[?(@.price <= $.expensive)].title", r#"["Sayings","Moby Dick"]"#),
        ("$..book[?(@.author =~ /.*EL/i)].title", r#"["Sayings"]"#),
        ("$.n[?(@ > 1)]", "[3,2]"),
        ("$.store.book[?(@.price > 8 && @.category == 'fiction')].title", r#"["Sword","Moby Dick"]"#),
        ("$.store.book[?(@.price > 12 || @.category == 'reference')].title", r#"["Sayings","Sword"]"#),
        ("$.store.book[?(@['price'] == 8.95)].title", r#"["Sayings"]"#),
        ("$.store.book[?(@.price == '8.95')].title", r#"["Sayings"]"#),
        ("$.store.book[?(@.isbn == null)].title", r#"["Sword"]"#),
        ("$.store.book[?(@.isbn != null)].title", r#"["Moby Dick"]"#),
        ("$.store.book[?('fiction' == @.category)].title", r#"["Sword","Moby Dick"]"#),
        ("$..[?(@.color)]", r#"[{"color":"red","price":19.95}]"#),
        ("$.store[?(@.color)]", "[]"),
        ("$.store.book[?(@.category in ['fiction'])].title", r#"["Sword","Moby Dick"]"#),
        ("$.store.book[?(@.category nin ['fiction'])].title", r#"["Sayings"]"#),
        ("$.store.book[?(@.title contains 'o')].title", r#"["Sword","Moby Dick"]"#),
        ("$[?(@.n size 3)].s", r#"["a/b"]"#),
        ("$[?(@.e empty true)].s", r#"["a/b"]"#),
        ("$[?(@.n.length() == 3)].s", r#"["a/b"]"#),
        ("$[?(@.n subsetof [1,2,3,4])].s", r#"["a/b"]"#),
        ("$[?((@.missing || @.s) && !(@.n anyof [7]))].s", r#"["a/b"]"#),
    ]);
}

#[test]
fn functions() {
    check(&[
        ("$.n.length()", "3"),
        ("$.s.length()", "3"),
        ("$.o.length()", "2"),
        ("$.n.min()", "1.0"),
        ("$.n.max()", "3.0"),
        ("$.n.avg()", "2.0"),
        ("$.n.sum()", "6.0"),
        ("$..price.sum()", "50.879999999999995"),
        ("$.n.first()", "3"),
        ("$.n.last()", "2"),
        ("$.n.index(-2)", "1"),
        ("$.o.keys()", r#"["a","b"]"#),
    ]);
}

#[test]
fn a_definite_path_that_leads_nowhere_has_no_result() {
    for path in
        ["$.missing", "$.store.missing.x", "$.store.book.title", "$.nul.x", "$.n[5]", "$.n[-9]", "$.e.min()"]
    {
        assert_eq!(read(path), None, "{path}");
    }
}

#[test]
fn work_is_bounded() {
    let text = format!("[{}1]", "[1],".repeat(1000));
    let mut heap = Heap::new(1_000_000);
    let root = parse(&text, &mut heap).unwrap();
    let mut budget = Budget::new(5_000);
    let result = Path::parse("$..[?($..*)]").unwrap().read(&mut heap, &root, &mut budget);
    assert!(matches!(result, Err(ReadError::TooMuchWork)));
    assert_eq!(budget.left(), 0);
}

proptest::proptest! {
    #[test]
    fn no_path_and_no_document_can_panic(path in "[$@.\\[\\]()*?&|!=~<>'/a-c0-2, :-]{0,40}", text in "[\\[\\]{}:,\"a-c0-2\\\\u ]{0,60}") {
        let mut heap = Heap::new(1000);
        let root = parse(&text, &mut heap).or_else(|_| parse(STORE, &mut heap)).unwrap();
        if let Ok(path) = Path::parse(&path) {
            let _ = path.read(&mut heap, &root, &mut Budget::new(10_000));
        }
    }
}
