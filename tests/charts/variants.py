"""Values that together use every option of the charts, by chart and name."""

from __future__ import annotations

from charts.rendered import Object

_PEERS = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress"}}}]

MODEL: dict[str, Object] = {
    "default": {},
    "gpus": {
        "model": "llama-2-13b-chat",
        "gpus": 2,
        "replicas": 2,
        "resources": {"requests": {"cpu": 4, "memory": "32Gi"}, "limits": {"memory": "64Gi"}},
        "nodeSelector": {"apps": "llama"},
        "tolerations": [
            {"key": "team", "operator": "Equal", "value": "ml", "effect": "NoSchedule"},
            {"key": "spot", "operator": "Exists"},
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
                    ]
                }
            }
        },
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}
        ],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "securityContext": {"runAsUser": 20000, "readOnlyRootFilesystem": False},
        "podAnnotations": {"a": "b"},
        "podLabels": {"a": "b"},
        "env": [{"name": "A", "value": "b"}],
        "servedName": "mine",
        "aliases": ["other"],
        "engine": {
            "kind": "native",
            "degree": 2,
            "dtype": "bfloat16",
            "maxModelLen": 4096,
            "maxNumSeqs": 8,
            "chatTemplate": "llama-2",
            "extraArgs": ["--hang-timeout=10"],
        },
        "check": {"context": 2048, "concurrency": 4, "timeoutSeconds": 60, "tag": "1"},
    },
    "two-nodes": {"model": "llama-2-70b-chat", "gpus": 4, "nodes": 2, "replicas": 1},
    "persistent": {
        "model": "meta-llama/Llama-2-7b-chat-hf",
        "weights": {
            "hub": {
                "tokenSecret": "hf",
                "endpoint": "https://mirror.example.org",
                "persistent": True,
                "size": "40Gi",
                "storageClass": "fast",
                "whenDeleted": "Delete",
            }
        },
    },
    "claim": {"weights": {"source": "claim", "claim": {"name": "shared"}, "path": "llama"}},
    "image-volume": {
        "weights": {
            "source": "image",
            "image": {"reference": "registry.example.org/w:1", "pullPolicy": "Always"},
        }
    },
    "baked": {
        "image": {
            "repository": "registry.example.org/llama",
            "digest": "sha256:" + "0" * 64,
            "pullPolicy": "Always",
            "pullSecrets": ["pull"],
        },
        "weights": {"source": "baked"},
    },
    "no-keys": {
        "keys": {"enabled": False},
        "serviceMonitor": {"enabled": True},
        "dashboard": {"enabled": True},
    },
    "own-keys": {
        "keys": {"values": ["first-key", "second-key"]},
        "serviceMonitor": {"enabled": True, "interval": "30s", "labels": {"release": "prom"}},
    },
    "existing-keys": {
        "keys": {"existingSecret": "mine"},
        "serviceMonitor": {"enabled": True, "secretKey": "metrics"},
    },
    "ingress": {
        "service": {"type": "LoadBalancer", "port": 8080, "annotations": {"a": "b"}},
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "host": "llama.example.org",
            "tlsSecret": "tls",
            "annotations": {"a": "b"},
        },
        "networkPolicy": {
            "from": _PEERS,
            "egress": [{"to": _PEERS, "ports": [{"port": 8080, "protocol": "TCP"}]}],
        },
    },
    "http-route": {
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "public", "namespace": "gateways"}],
            "hostnames": ["llama.example.org"],
            "path": "/llama",
        }
    },
    "hpa": {"autoscaling": {"type": "hpa", "minReplicas": 2, "maxReplicas": 3}},
    "keda": {
        "autoscaling": {
            "type": "keda",
            "keda": {"serverAddress": "http://prometheus:9090", "authentication": "prom"},
        }
    },
    "bare": {
        "check": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False, "name": "mine"},
        "keys": {"enabled": False},
    },
    "cloud-account": {
        "fullnameOverride": "llama",
        "serviceAccount": {"name": "mine", "annotations": {"a": "b"}},
    },
}
_NODE_CLASS = {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": "gpus"}

BERTH: dict[str, Object] = {
    "default": {},
    "namespaces": {"watchNamespaces": ["team-a", "team-b"]},
    "provisioning": {"provisioning": {"enabled": True, "nodeClass": _NODE_CLASS}},
    "namespaces-and-provisioning": {
        "watchNamespaces": ["team-a"],
        "provisioning": {"enabled": True, "nodeClass": _NODE_CLASS},
    },
    "observed": {
        "serviceMonitor": {"enabled": True, "interval": "10s", "labels": {"release": "prom"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prom"}},
        "dashboard": {"enabled": True, "labels": {"grafana": "yes"}},
        "networkPolicy": {
            "metricsFrom": _PEERS,
            "apiServerPorts": [6443],
            "apiServerCidrs": ["10.0.0.1/32"],
        },
    },
    "models": {
        "models": {
            "images": {
                "cpu": "registry.example.org/berth:1",
                "cuda": "registry.example.org/berth:1-cuda",
                "registry": "registry.example.org/models",
                "tag": "2",
                "pullPolicy": "Always",
            },
            "storageClass": "fast",
            "apiKeySecret": "berth-keys",
            "graceSeconds": 60,
            "networkPolicy": False,
        },
        "log": {"format": "text", "level": "debug"},
    },
    "placed": {
        "image": {
            "repository": "registry.example.org/berth-controller",
            "digest": "sha256:" + "0" * 64,
            "pullPolicy": "Always",
            "pullSecrets": ["pull"],
        },
        "replicas": 1,
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "podAnnotations": {"a": "b"},
        "podLabels": {"a": "b"},
        "serviceAccount": {"name": "mine", "annotations": {"a": "b"}},
    },
    "bare": {
        "crd": {"install": False},
        "networkPolicy": {"enabled": False},
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False, "name": "mine"},
    },
}
VARIANTS = [
    (chart, name, values)
    for chart, variants in (("model", MODEL), ("berth", BERTH))
    for name, values in variants.items()
]
