//! Catalogs in, stages out.

use crate::tests::Slots;
use crate::{Now, QuotaCounted, Registry, compile, faults, recompile};
use sluice_catalog::{
    ApiKey, ApiStage, Catalog, Definition, Deployment, Integration, IntegrationResponse, IntegrationType,
    Method, Quota, Resource, RestApi, Stage, UsagePlan, UsagePlanKey,
};
use sluice_config::Settings;
use sluice_snapshot::{Action, Backing, Snapshot};
use sluice_throttle::{Period, QuotaCount};
use std::sync::Arc;

fn settings() -> Settings {
    Settings::parse("", "f").unwrap_or_else(|found| panic!("{found:?}"))
}

fn snapshot(catalog: &Catalog, registry: &mut Registry) -> Snapshot {
    let now = Now { ns: 0, unix_s: 86_400 };
    compile(&settings(), catalog, registry, &mut Slots::default(), now)
        .unwrap_or_else(|e| panic!("{e:?}"))
        .snapshot
}

fn mock(body: &str) -> Method {
    let response = IntegrationResponse {
        status_code: "200".to_owned(),
        response_templates: [("application/json".to_owned(), Some(body.to_owned()))].into(),
        ..IntegrationResponse::default()
    };
    let integration = Integration {
        integration_type: IntegrationType::Mock,
        request_templates: [("application/json".to_owned(), "{\"statusCode\": 200}".to_owned())].into(),
        integration_responses: [("200".to_owned(), response)].into(),
        ..Integration::default()
    };
    Method { integration: Some(Box::new(integration)), ..Method::default() }
}

/// An API of `methods` paths, deployed to `prod`.
fn api(id: &str, methods: usize, body: &str) -> Arc<RestApi> {
    let resource = |at: usize| Resource {
        id: format!("r{at}"),
        path: format!("/things{at}/{{id}}"),
        methods: [("GET".to_owned(), mock(body))].into(),
        ..Resource::default()
    };
    let resources = (0..methods).map(|at| (format!("r{at}"), Arc::new(resource(at)))).collect();
    let definition = Arc::new(Definition { resources, ..Definition::default() });
    let deployment = Deployment { id: "d".to_owned(), definition, ..Deployment::default() };
    let stage = Stage { stage_name: "prod".to_owned(), deployment_id: "d".to_owned(), ..Stage::default() };
    Arc::new(RestApi {
        id: id.to_owned(),
        deployments: [("d".to_owned(), Arc::new(deployment))].into(),
        stages: [("prod".to_owned(), Arc::new(stage))].into(),
        ..RestApi::default()
    })
}

fn catalog(apis: impl IntoIterator<Item = Arc<RestApi>>) -> Catalog {
    Catalog { rest_apis: apis.into_iter().map(|api| (api.id.clone(), api)).collect(), ..Catalog::default() }
}

#[test]
fn only_what_has_changed_is_compiled_anew() {
    let mut registry = Registry::new();
    let mut catalog = catalog((0..20).map(|at| api(&format!("api{at:02}"), 5, "x")));
    let before = snapshot(&catalog, &mut registry);
    catalog.rest_apis.insert("api07".to_owned(), api("api07", 5, "y"));
    let after = snapshot(&catalog, &mut registry);
    for (at, (before, after)) in before.rest.stages.iter().zip(&after.rest.stages).enumerate() {
        assert_eq!(Arc::ptr_eq(before, after), at != 7, "{at}");
    }
    // A setting that stages depend on compiles all of them.
    let other = Settings::parse("[cache]\nentry_max_bytes = 2048\n", "f").unwrap();
    let last =
        compile(&other, &catalog, &mut registry, &mut Slots::default(), Now::default()).unwrap().snapshot;
    assert!(!Arc::ptr_eq(&last.rest.stages[0], &after.rest.stages[0]));
}

#[test]
fn a_mock_that_always_says_the_same_says_it_without_mapping() {
    let snapshot =
        snapshot(&catalog([api("a", 1, "fixed"), api("b", 1, "$context.stage")]), &mut Registry::new());
    let usual: Vec<_> = snapshot.rest.stages.iter().map(|stage| &stage.deployed.routes[0].action).collect();
    let [Action::Mapped(fixed), Action::Mapped(mapped)] = usual.as_slice() else { panic!("{usual:?}") };
    let Backing::Mock(Some(usual)) = &fixed.backing else { panic!("{fixed:?}") };
    assert_eq!((usual.status, &*usual.body), (200, b"fixed".as_slice()));
    assert!(matches!(mapped.backing, Backing::Mock(None)));
}

#[test]
fn a_refused_catalog_says_why_and_changes_nothing() {
    let mut registry = Registry::new();
    let good = snapshot(&catalog([api("a", 1, "x")]), &mut registry);
    let mut bad = (*api("b", 1, "x")).clone();
    let stage = Stage { deployment_id: "gone".to_owned(), ..(*bad.stages["prod"]).clone() };
    bad.stages.insert("prod".to_owned(), Arc::new(stage));
    let catalog = catalog([api("a", 1, "other"), Arc::new(bad)]);
    let rejected =
        compile(&settings(), &catalog, &mut registry, &mut Slots::default(), Now::default()).unwrap_err();
    assert_eq!(rejected.catalog, ["rest API b/prod: there is no deployment `gone`"]);
    assert_eq!(registry.generation(), good.generation);
}

#[test]
fn quotas_keep_their_counts_and_go_on_from_kept_ones() {
    let mut registry = Registry::new();
    let mut catalog = catalog([api("a", 1, "x")]);
    let key = ApiKey { id: "k".to_owned(), value: "v".to_owned(), enabled: true, ..ApiKey::default() };
    catalog.api_keys.insert("k".to_owned(), Arc::new(key));
    let member = UsagePlanKey { id: "k".to_owned(), key_type: "API_KEY".to_owned() };
    let plan = |limit| UsagePlan {
        id: "p".to_owned(),
        api_stages: vec![ApiStage {
            api_id: "a".to_owned(),
            stage: "prod".to_owned(),
            ..ApiStage::default()
        }],
        keys: [("k".to_owned(), member.clone())].into(),
        quota: Some(Quota { limit, offset: 2, period: sluice_catalog::Period::Day }),
        ..UsagePlan::default()
    };
    let kept = QuotaCounted {
        plan: "p".to_owned(),
        key: "k".to_owned(),
        period: Period::Day,
        count: QuotaCount { period: 1, used: 7 },
        bonus: 4,
    };
    registry.restore_quotas([kept]);
    catalog.usage_plans.insert("p".to_owned(), Arc::new(plan(10)));
    let before = snapshot(&catalog, &mut registry);
    let handle = registry.quotas().find("p", "k").unwrap();
    assert_eq!((handle.quota.count(), handle.quota.left(1)), (QuotaCount { period: 1, used: 7 }, 7));
    catalog.usage_plans.insert("p".to_owned(), Arc::new(plan(20)));
    let after = snapshot(&catalog, &mut registry);
    assert_eq!(handle.quota.left(1), 17);
    let quota = |snapshot: &Snapshot| snapshot.rest.keys.keys[0].grants[0].quota.clone().unwrap();
    assert!(Arc::ptr_eq(&quota(&before).quota, &quota(&after).quota));
    assert!(registry.quotas().find("p", "other").is_none());
    handle.quota.set_left(1, 30);
    assert_eq!((quota(&after).quota.used(1), quota(&after).quota.left(1)), (0, 30));
}

#[test]
fn faults_are_what_keeps_a_change_from_being_compiled() {
    let good = catalog([api("a", 2, "x"), api("b", 2, "x")]);
    assert_eq!(faults(&Catalog::default(), &good), Vec::<String>::new());
    let mut clash = RestApi::clone(&good.rest_apis["a"]);
    let mut deployment = Deployment::clone(&clash.deployments["d"]);
    let mut definition = Definition::clone(&deployment.definition);
    let twin =
        Resource { path: "/things0/{name}".to_owned(), ..Resource::clone(&definition.resources["r0"]) };
    definition.resources.insert("twin".to_owned(), Arc::new(twin));
    deployment.definition = Arc::new(definition);
    clash.deployments.insert("d".to_owned(), Arc::new(deployment));
    let mut lost = RestApi::clone(&good.rest_apis["b"]);
    lost.deployments.clear();
    let bad = catalog([Arc::new(clash), Arc::new(lost)]);
    let found = faults(&good, &bad);
    assert!(found[0].starts_with("rest API a/prod: routes"), "{found:?}");
    assert_eq!(found[1..], ["rest API b/prod: there is no deployment `d`"]);
    let rejected = compile(&settings(), &bad, &mut Registry::new(), &mut Slots::default(), Now::default());
    assert_eq!(
        rejected.unwrap_err().catalog,
        found,
        "no more and no less than what is found when it is compiled"
    );
    assert_eq!(faults(&bad, &bad), Vec::<String>::new(), "what has not changed is not looked at");
}

/// A change of the catalog must not fail, or wait, because the resolver does.
#[test]
fn a_catalog_is_compiled_anew_without_a_resolver() {
    let text =
        "[upstreams.u]\ntargets = [\"nowhere.invalid:80\"]\n[routes.r]\npath = \"/\"\nupstream = \"u\"\n";
    let settings = Settings::parse(text, "f").unwrap();
    let (mut registry, mut slots) = (Registry::new(), Slots::default());
    let catalog = catalog([api("a", 1, "x")]);
    assert!(compile(&settings, &catalog, &mut registry, &mut slots, Now::default()).is_err());
    registry.names.insert("nowhere.invalid".to_owned(), Ok(vec![[192, 0, 2, 1].into()]));
    let compiled = recompile(&settings, &catalog, &mut registry, &mut slots, Now::default()).unwrap();
    assert_eq!(compiled.snapshot.upstreams[0].targets[0].addr, ([192, 0, 2, 1], 80).into());
    assert!(recompile(&settings, &catalog, &mut registry, &mut slots, Now::default()).is_ok(), "and again");
}
