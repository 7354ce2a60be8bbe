"""charts/model: who reaches the model, by which name, and with which key."""

from __future__ import annotations

import base64
from typing import Any

from berth.server.own_keys import parse_api_keys
from charts.rendered import Object, render


def one(kind: str, name: str | None = None, **values: Any) -> Object:
    return render("model", values).one(kind, name)


def keys_of(secret: Object) -> tuple[str, ...]:
    return parse_api_keys(base64.b64decode(secret["data"]["BERTH_API_KEY"]).decode())


def test_the_service_is_kaitos_port_80() -> None:
    (port,) = one("Service", "pocket")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, "http")
    annotated = one("Service", "pocket", service={"port": 8080, "annotations": {"a": "b"}})
    assert annotated["spec"]["ports"][0]["port"] == 8080
    assert annotated["metadata"]["annotations"] == {"a": "b"}
    assert one("Service", "pocket", service={"type": "NodePort"})["spec"]["type"] == "NodePort"


def test_of_several_nodes_only_the_first_answers_requests() -> None:
    selector = one("Service", "pocket", nodes=2)["spec"]["selector"]
    assert selector["apps.kubernetes.io/pod-index"] == "0"
    assert "apps.kubernetes.io/pod-index" not in one("Service", "pocket")["spec"]["selector"]


def test_the_ranks_find_each_other_before_they_are_ready() -> None:
    headless = one("Service", "pocket-headless", nodes=2)
    assert headless["spec"]["clusterIP"] == "None"
    assert headless["spec"]["publishNotReadyAddresses"] is True
    assert 29500 in {port["port"] for port in headless["spec"]["ports"]}
    assert one("StatefulSet", nodes=2)["spec"]["serviceName"] == "pocket-headless"


def test_a_key_is_made_where_none_is_given() -> None:
    (key,) = keys_of(one("Secret"))
    assert len(key) == 40
    assert keys_of(one("Secret")) != (key,)


def test_keys_of_ones_own_are_all_accepted_and_one_is_for_prometheus() -> None:
    secret = one("Secret", keys={"values": ["first-key", "second-key"]})
    assert keys_of(secret) == ("first-key", "second-key")
    assert base64.b64decode(secret["data"]["METRICS_KEY"]) == b"first-key"


def test_no_secret_is_made_where_there_is_one_or_no_key_is_asked_for() -> None:
    assert render("model", {"keys": {"existingSecret": "mine"}}).all("Secret") == []
    assert render("model", {"keys": {"enabled": False}}).all("Secret") == []


def test_prometheus_shows_a_key() -> None:
    def credentials(**values: Any) -> Object:
        monitor = one("ServiceMonitor", serviceMonitor={"enabled": True}, **values)
        (endpoint,) = monitor["spec"]["endpoints"]
        assert (endpoint["path"], endpoint["port"]) == ("/metrics", "http")
        return dict(endpoint.get("authorization", {}).get("credentials", {}))

    assert credentials() == {"name": "pocket-keys", "key": "METRICS_KEY"}
    assert credentials(keys={"existingSecret": "mine"}) == {"name": "mine", "key": "BERTH_API_KEY"}
    assert credentials(keys={"enabled": False}) == {}


def test_prometheus_reads_each_pod_once() -> None:
    given = render("model", {"serviceMonitor": {"enabled": True}})
    wanted = given.one("ServiceMonitor")["spec"]["selector"]["matchLabels"].items()
    found = [s for s in given.all("Service") if wanted <= s["metadata"]["labels"].items()]
    assert [s["metadata"]["name"] for s in found] == ["pocket"]


def test_in_only_the_servers_port_and_only_from_the_namespace() -> None:
    policy = one("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = policy["ingress"]
    assert rule == {"ports": [{"port": 5000, "protocol": "TCP"}], "from": [{"podSelector": {}}]}
    peers = [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]
    (rule,) = one("NetworkPolicy", networkPolicy={"from": peers})["spec"]["ingress"]
    assert rule["from"] == peers


def test_out_only_names_and_the_hub() -> None:
    def ports(**values: Any) -> set[int]:
        rules = one("NetworkPolicy", **values)["spec"]["egress"]
        return {port["port"] for rule in rules for port in rule["ports"]}

    assert ports() == {53, 443}
    assert ports(weights={"source": "baked"}) == {53}
    extra = [{"ports": [{"port": 8080, "protocol": "TCP"}]}]
    assert ports(weights={"source": "baked"}, networkPolicy={"egress": extra}) == {53, 8080}


def test_the_nodes_of_one_model_reach_each_other_on_any_port() -> None:
    policy = one("NetworkPolicy", nodes=2)["spec"]
    pods = [{"podSelector": policy["podSelector"]}]
    assert {"from": pods} in policy["ingress"]
    assert {"to": pods} in policy["egress"]


def test_an_ingress_leads_to_the_service() -> None:
    ingress = one(
        "Ingress",
        ingress={"enabled": True, "host": "a.example.org", "tlsSecret": "tls"},
    )["spec"]
    (rule,) = ingress["rules"]
    (path,) = rule["http"]["paths"]
    assert (rule["host"], path["path"]) == ("a.example.org", "/")
    assert path["backend"]["service"] == {"name": "pocket", "port": {"name": "http"}}
    assert ingress["tls"] == [{"hosts": ["a.example.org"], "secretName": "tls"}]


def test_a_route_sets_no_limit_on_streams() -> None:
    parents = [{"name": "public", "namespace": "gateways"}]
    route = one("HTTPRoute", httpRoute={"enabled": True, "parentRefs": parents})["spec"]
    (rule,) = route["rules"]
    assert route["parentRefs"] == parents
    assert rule["timeouts"] == {"request": "0s"}
    assert rule["backendRefs"] == [{"name": "pocket", "port": 80}]


def test_a_routes_prefix_is_taken_off_for_the_server_does_not_know_it() -> None:
    def rule(path: str) -> Object:
        of = {"enabled": True, "parentRefs": [{"name": "public"}], "path": path}
        return dict(one("HTTPRoute", httpRoute=of)["spec"]["rules"][0])

    assert "filters" not in rule("/")
    given = rule("/llama")
    assert given["matches"] == [{"path": {"type": "PathPrefix", "value": "/llama"}}]
    (rewrite,) = given["filters"]
    assert rewrite["urlRewrite"]["path"] == {
        "type": "ReplacePrefixMatch",
        "replacePrefixMatch": "/",
    }


def test_a_drain_takes_one_pod_at_a_time_and_a_broken_one_always() -> None:
    budget = one("PodDisruptionBudget")["spec"]
    # minAvailable 1 would keep a node with the only pod from ever being drained.
    assert budget["maxUnavailable"] == 1
    assert budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def test_the_pods_account_is_their_own_and_has_no_rights() -> None:
    given = render("model", {"serviceAccount": {"annotations": {"a": "b"}}})
    account = given.one("ServiceAccount", "pocket")
    assert account["metadata"]["annotations"] == {"a": "b"}
    subjects = [s["name"] for b in given.all("ClusterRoleBinding") for s in b["subjects"]]
    assert "pocket" not in subjects
    assert given.all("RoleBinding") == []
    ((_, pod),) = [p for p in given.pods() if p[0].startswith("StatefulSet")]
    assert pod["spec"]["serviceAccountName"] == "pocket"


def test_an_account_that_is_there_can_be_used() -> None:
    given = render("model", {"serviceAccount": {"create": False, "name": "mine"}})
    names = [a["metadata"]["name"] for a in given.all("ServiceAccount")]
    assert names == ["pocket-check"]
    pods = dict(given.pods())
    assert pods["StatefulSet pocket"]["spec"]["serviceAccountName"] == "mine"
