use super::*;
use file::Migration;
use sluice_catalog::{ApiKey, Definition, Deployment, Resource, RestApi, Stage};
use std::sync::atomic::{AtomicUsize, Ordering};

/// A folder of this test's own, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("sluice-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("store")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn api(id: &str) -> Arc<RestApi> {
    let root = Resource { id: "r".into(), path: "/".into(), ..Resource::default() };
    let definition = Definition { resources: [("r".into(), Arc::new(root))].into(), ..Definition::default() };
    let definition = Arc::new(definition);
    let deployment =
        Deployment { id: "d".into(), definition: Arc::clone(&definition), ..Deployment::default() };
    let stage = Stage { stage_name: "prod".into(), deployment_id: "d".into(), ..Stage::default() };
    Arc::new(RestApi {
        id: id.into(),
        name: "pets".into(),
        root_resource_id: "r".into(),
        definition,
        deployments: [("d".into(), Arc::new(deployment))].into(),
        stages: [("prod".into(), Arc::new(stage))].into(),
        ..RestApi::default()
    })
}

fn put(store: &Store, id: &str) {
    let put = |catalog: &mut Catalog| {
        catalog.rest_apis.insert(id.into(), api(id));
        Ok::<_, StoreError>(())
    };
    store.change(put).unwrap();
}

#[test]
fn what_was_changed_is_there_after_opening_again() {
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap();
    put(&store, "one");
    put(&store, "two");
    let key = ApiKey { id: "k".into(), value: "v".repeat(20), ..ApiKey::default() };
    store
        .change(|catalog| {
            catalog.rest_apis.remove("two");
            catalog.api_keys.insert("k".into(), Arc::new(key.clone()));
            catalog.account.cloudwatch_role_arn = Some("arn".into());
            let api = Arc::make_mut(catalog.rest_apis.get_mut("one").unwrap());
            Arc::make_mut(api.stages.get_mut("prod").unwrap()).description = Some("changed".into());
            Ok::<_, StoreError>(())
        })
        .unwrap();
    let before = store.catalog();
    drop(store);
    let after = Store::open(&folder.file()).unwrap();
    assert_eq!(after.catalog(), before);
    assert_eq!(Store::check(&folder.file()), Err(StoreError::InUse(folder.file())));
    drop(after);
    assert_eq!(Store::check(&folder.file()), Ok(vec![]));
}

#[test]
fn a_refused_change_changes_nothing_and_is_not_published() {
    let store = Store::in_memory();
    let seen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&seen);
    store.on_change(Box::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    let refused = store.change(|catalog| {
        catalog.rest_apis.insert("one".into(), api("one"));
        Err::<(), _>(StoreError::HandedOver)
    });
    assert_eq!(refused, Err(StoreError::HandedOver));
    assert!(store.catalog().rest_apis.is_empty());
    assert_eq!(seen.load(Ordering::SeqCst), 1, "told once, at the beginning");
    put(&store, "one");
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

#[test]
fn only_what_differs_is_written() {
    let (mut old, mut new) = (Catalog::default(), Catalog::default());
    for n in 0..100 {
        old.rest_apis.insert(format!("api{n}"), api("x"));
    }
    new.clone_from(&old);
    assert!(items::changes(&old, &new).unwrap().is_empty());
    let api = Arc::make_mut(new.rest_apis.get_mut("api7").unwrap());
    Arc::make_mut(api.stages.get_mut("prod").unwrap()).tracing_enabled = true;
    let changes = items::changes(&old, &new).unwrap();
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["stage/api7/prod"]);
    new.rest_apis.remove("api8");
    let changes = items::changes(&old, &new).unwrap();
    let gone: Vec<_> =
        changes.iter().filter(|(_, value)| value.is_none()).map(|(key, _)| key.as_str()).collect();
    assert_eq!(gone, ["deployment/api8/d", "restapi/api8", "stage/api8/prod"]);
}

#[test]
fn a_file_handed_over_refuses_changes_until_it_is_back() {
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap();
    store.hand_over();
    assert_eq!(store.change(|_| Ok(())), Err(StoreError::HandedOver));
    let other = Store::open(&folder.file()).unwrap();
    put(&other, "theirs");
    assert!(matches!(store.take_back(), Err(StoreError::InUse(_))));
    drop(other);
    store.take_back().unwrap();
    assert!(store.catalog().rest_apis.contains_key("theirs"));
    put(&store, "ours");
}

#[test]
fn older_formats_are_brought_up_to_date_and_newer_ones_refused() {
    let folder = Folder::new();
    put(&Store::open(&folder.file()).unwrap(), "one");
    let rename: Migration = |items| {
        let value = items.insert("restapi/one".to_owned(), None).flatten().unwrap();
        let text = String::from_utf8(value).unwrap().replace("pets", "renamed");
        items.insert("restapi/one".to_owned(), Some(text.into_bytes()));
        Ok(())
    };
    for _ in 0..2 {
        let (_, catalog) = File::open_with(&folder.file(), &[rename]).unwrap();
        assert_eq!(catalog.rest_apis["one"].name, "renamed");
        assert_eq!(catalog.rest_apis["one"].stages.len(), 1);
    }
    let newer = Store::open(&folder.file()).unwrap_err();
    assert_eq!(newer, StoreError::Format { found: 2, known: 1 });
}

#[test]
fn exports_come_back_and_other_formats_do_not() {
    let store = Store::in_memory();
    put(&store, "one");
    let text = serde_json::to_string(&store.export()).unwrap();
    let other = Store::in_memory();
    other.import(serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(other.catalog(), store.catalog());
    let newer = Export { format: 99, ..store.export() };
    assert_eq!(other.import(newer), Err(StoreError::Format { found: 99, known: 1 }));
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let folder = Folder::new();
    std::fs::write(folder.file(), "[server]\nlisten = []\n".repeat(500)).unwrap();
    assert!(matches!(Store::open(&folder.file()), Err(StoreError::Open { .. })));
    assert!(std::fs::read_to_string(folder.file()).unwrap().starts_with("[server]"));
    let nowhere = folder.0.join("no/such/folder");
    assert!(matches!(Store::open(&nowhere), Err(StoreError::Open { .. })));
}

#[test]
fn dangling_references_are_found() {
    let mut catalog = Catalog::default();
    let mut broken = RestApi::clone(&api("one"));
    broken.deployments.clear();
    catalog.rest_apis.insert("one".into(), Arc::new(broken));
    assert_eq!(problems(&catalog), ["stage prod of REST API one serves deployment d, which is not there"]);
}

#[test]
fn secrets_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    drop(Store::open(&folder.file()).unwrap());
    assert_eq!(std::fs::metadata(folder.file()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_could_not_be_served_is_not_kept() {
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap();
    put(&store, "one");
    let told = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&told);
    store.on_change(Box::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    store.guard(Box::new(|old, new| {
        let fresh = new.rest_apis.keys().filter(|id| !old.rest_apis.contains_key(*id));
        fresh.map(|id| format!("{id} clashes")).collect()
    }));
    let before = store.catalog();
    let refused = store.change(|catalog| {
        catalog.rest_apis.insert("two".into(), api("two"));
        Ok::<_, StoreError>(())
    });
    assert_eq!(refused, Err(StoreError::Refused(vec!["two clashes".to_owned()])));
    assert_eq!(store.catalog(), before);
    assert_eq!(told.load(Ordering::SeqCst), 1, "told of what was there, and of nothing else");
    drop(store);
    assert_eq!(Store::open(&folder.file()).unwrap().catalog(), before);
}

/// Each of these would be a file that cannot be opened again, or two items that are taken for one.
#[test]
fn items_under_another_name_than_their_own_are_refused() {
    let folder = Folder::new();
    let store = Store::open(&folder.file()).unwrap();
    put(&store, "one");
    let before = store.catalog();
    let api_under = |key: &str, id: &str| {
        let mut catalog = Catalog::default();
        catalog.rest_apis.insert(key.into(), api(id));
        catalog
    };
    let mut key = Catalog::default();
    key.api_keys.insert("a/b".into(), Arc::new(ApiKey { id: "a/b".into(), ..ApiKey::default() }));
    for catalog in [api_under("a", "b"), api_under("a/b", "a/b"), api_under("", ""), key] {
        let refused = store.replace(catalog.clone());
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?} for {catalog:?}");
    }
    assert_eq!(store.catalog(), before);
    store.replace(api_under("a", "a")).unwrap();
    drop(store);
    assert!(Store::open(&folder.file()).unwrap().catalog().rest_apis.contains_key("a"));
}
