"""Facts about Berth itself, one answer each: what it is, building, fitting, deploying."""

from __future__ import annotations

from .skill import Skill, fact

_BERTH = "[berth|the berth project|this project|this software|this system|this tool]"


def about(key: str, answer: str, *templates: str, weight: float = 0.8) -> Skill:
    del key  # names the fact for the reader; the skill is always "berth"
    return fact("berth", answer, *templates, weight=weight, emoji="⚓ 🚢 🤖")


SKILLS: list[Skill] = [
    about(
        "what berth is",
        "Berth gives an open-weight language model its place in a Kubernetes cluster: it checks "
        "that the GPUs fit, builds one image per model, deploys it and serves it over HTTP.",
        f"what is {_BERTH}[ for| about| good for|]",
        "[what|what exactly|so what] is berth",
        f"what does {_BERTH} [do|give me|offer|help with|solve]",
        f"[tell me|explain|say something|give me a summary|talk] [about|] {_BERTH}",
        f"[describe|introduce|summarise|explain] {_BERTH}",
        f"why [should i|would i|do people|would anyone] use {_BERTH}",
        "[what's|whats] berth",
        "berth[ what is it| explained| in one sentence|]",
        f"[what is|what's] the [purpose|goal|idea|point|use|aim] of {_BERTH}",
        f"who [is|would use|needs|uses] {_BERTH}[ for|]",
        "[explain|tell me|say|show|describe][ me| to me| please|] what berth [is|does|means|can "
        "do|is good for|offers]",
        "[what|who] is [this |the |]berth [all |][for|about|good for|meant for][ then| anyway| "
        "exactly|]",
        "[in short|in one word|in a sentence|briefly|simply put|for a beginner], what is [this |"
        "the |]berth[ thing| tool| software| system|]",
        "[give|write] [me |us |][an overview|an introduction|a description|an explanation|the "
        "idea] of berth",
        "berth is [what|for what|a tool for what]",
        f"what [can|could] i do with {_BERTH}",
        f"how does {_BERTH} work",
        weight=3.0,  # the first question of a newcomer
    ),
    about(
        "the word",
        "A berth is a ship's allotted place at the quay, measured before the ship comes in.",
        "what is a berth",
        "what does [the word|the name|] berth [mean|stand for|refer to]",
        "[meaning|definition|origin] of [the word |the name |]berth",
        "[where does|why] [the name|name] berth[ come from|]",
        "why is [it|the project] [called|named] berth",
        "what [does|is] a berth [for a ship|in a harbour|mean]",
        "[define|explain] [the word|a|the name] berth",
        "what is a ship's berth",
        "berth [meaning|definition|as a word]",
        "a berth is what",
        "why the name berth",
        "where does the name berth come from",
    ),
    about(
        "docker build",
        "Run docker build --build-arg LLAMA_VERSION=llama-2-7b-chat -t llama-2-7b-chat . or let "
        "berth build do it for you.",
        "how [do|can|should|would] [i|we|you|one] [build|make|create|produce|assemble|bake] [an "
        "image|the image|a docker image|a container image|the docker image|a llama image|the "
        "llama image|my image|an image of a model|a container|the container|model images|images]",
        "how to [build|make|create] [an image|the image|a docker image|a container image|the "
        "docker image|the container|a container|model images|an image for a model]",
        "[what is|which is|give me|show me|tell me] the [docker |image |]build command",
        "[docker build|image build|building an image|docker image build|build image|build an "
        "image]",
        "[which|what] command [builds|makes|creates] [an image|the image|a container image|the "
        "docker image|the container]",
        "[i want|i need|i would like|help me|i wish] to [build|make|create] [an image|a docker "
        "image|the image|a container image|a container]",
        "[show|explain|describe|tell|teach] [me |us |][how|the way] [images|an image|a docker "
        "image|the image|a container|a model image] [is|are|gets|can be] [built|made|created|"
        "produced|assembled][ here| please| with berth|]",
        "[with|using] docker[, | ; ][how do i build|how to build|what builds|build] [the image|"
        "an image|a model|it]",
        "[which|what] [docker |build |]command [do i|should i|must i|shall i] [run|use|enter|"
        "need|give] [for|to get|to make|to create] [an image|the image|a container|a docker "
        "image]",
        "[the|a] [docker|image] [command|line|build] [for|to build|to make] [an image|the image|"
        "images|llama]",
        "what is LLAMA_VERSION[ for|]",
        "[which|what] build [arg|argument|args] [do i need|should i pass|sets the model version]",
        "what does berth build do",
        "how does berth build work",
        "how are images [built|made]",
        "[put|pack|package|wrap] [a model|llama|the model] [into|in] [an image|a container|docker]",
        "how do i [containerize|containerise|dockerize|package] [a model|llama|the model]",
    ),
    about(
        "fit",
        "berth fit says whether a model fits a GPU before anything is paid for: it counts "
        "weights, KV cache, activations and overhead, and names every term.",
        "what does [fit|berth fit|the fit command|the fit check|the fit function] [do|say|"
        "compute|check|tell me|mean|show]",
        "what is [fit|berth fit|the fit command|the fit check] [for|]",
        "[explain|describe|tell me about] [fit|berth fit|the fit command|the fit check]",
        "[does|will|would|can|could] [a|the|my|this] model [fit|fit on|fit in|fit into|fit onto] "
        "[my|a|the|this|one] [gpu|card|gpus|memory|graphics card|gpu memory]",
        "how [do i|can i|to|does one|should i] [check|know|see|find out|tell|test|verify] [if|"
        "whether|that] [a|the|my] model fits[ my gpu| the gpu| a gpu| my card|]",
        "how does [fit|berth fit|the fit check] work",
        "[fit|berth fit|fit check]",
        "how much [gpu memory|memory|vram] does [a|the|my] model need",
        "[can|could|may] i [learn|ask berth|see|find out|know|check|predict] [whether|if] [a|the|"
        "my|this] [gpu|card|graphics card] [can hold|has room for|is enough for|suffices for|"
        "takes|holds] [a|the|my|this] model",
        "[which|what] [tool|command|function|part] [says|tells|finds out|shows|computes] [if|"
        "whether] [a model|the model|it|llama] fits",
        "is my [gpu|card] [big|large] enough[ for the model| for a model|]",
        "[which|what] command checks [the gpu|the memory|if a model fits|gpu memory|whether it "
        "fits]",
        "[which|what] gpu do i need",
        "how many gpus [do i need|does a model need|are needed]",
        "what happens if the model does not fit",
    ),
    about(
        "deploy",
        "Write a Workspace YAML that names a GPU instance type and a preset, then run kubectl "
        "apply -f workspace.yaml.",
        "how [do|can|should] [i|we|you|one] [deploy|apply|install|roll out|launch|set up] [a "
        "model|the model|a workspace|a workspace yaml|my model|llama|the workspace]",
        "how to [deploy|apply|launch|roll out] [a model|the model|a workspace|llama|to kubernetes]",
        "[deploy|apply|create] a [workspace|model]",
        "how do i [use|write|make|create] a workspace[ yaml| file|]",
        "[how do i|how to|can i] [deploy|run] [it|a model|berth|llama] [on|to|in] [kubernetes|"
        "k8s|a cluster|my cluster]",
        "[what|which] command [applies|deploys] [a workspace|the workspace|a model]",
        "[kubectl apply|workspace yaml|model deployment|deploying a model|deployment]",
        "[i want|i need|i would like|help me] to [deploy|apply|roll out] [a model|a workspace|my "
        "model|llama]",
        "[which|what] [line|command|thing|file] do i [run|write|use|enter|need] [to|when i|for] "
        "[deploy|apply|install|deploying|applying] [a|my|the] [workspace|model|workspace yaml]",
        "[how|in what way] [is|are|can|do] [models|a workspace|a preset|llama|falcon|the yaml] "
        "[deployed|applied|installed|get deployed|be deployed|be applied][ here| with berth| in "
        "the cluster| on k8s|]",
        "[i have|i wrote|here is|i made] [a|my|the] workspace[ yaml| file|][, | ; |. ][how do i "
        "apply it|what do i do with it|what now|how is it deployed|deploy it]",
        "[where|how] do i start [with|] [a deployment|deployment]",
        "[get|put|bring] [a|my|the] model [into|onto|on|in] [the cluster|kubernetes|my cluster|"
        "production]",
        "how is a model deployed",
    ),
    about(
        "workspace",
        "A Workspace is the Kubernetes object that asks for a model: a resource part for the "
        "GPUs and an inference part for the preset. It is KAITO's API.",
        "what is [a|the] workspace[ object| resource| in berth|]",
        "[explain|describe|define|tell me about] [a|the] workspace[s|]",
        "what does a workspace [do|contain|hold|mean|describe|look like]",
        "what [goes|is] [in|into|inside] a workspace",
        "which [fields|parts|sections] does a workspace have",
        "workspace[ meaning| definition| what is it|]",
        "what is [kaito|the workspace api]",
        "[what|which] [sort|type|manner] of [thing|resource|object|file|kubernetes object] is [a|"
        "the|this] workspace",
        "[a|the] workspace[, | ; | - ][what is that|what is it|what does it do|explain|what for]",
        "[please |]tell [me|us] what [a|the] workspace [is|does|contains|means|holds]",
        "[which|what] api does [the|a] workspace [use|follow|come from]",
        "is it compatible with kaito",
        "can i use my kaito [yaml|files|workspace]",
        "does berth [work with|support|understand] kaito[ yaml|]",
    ),
]
