"""Facts about Berth's server, engine, command line and project, one answer each."""

from __future__ import annotations

from .berth import about
from .skill import Skill

SKILLS: list[Skill] = [
    about(
        "chat endpoint",
        "POST /chat answers a conversation, POST /generate continues plain prompts, and "
        "/v1/chat/completions speaks the OpenAI dialect.",
        "[which|what] [endpoints|routes|paths|urls|http endpoints|api endpoints] [are there|do "
        "you have|does it have|does berth have|can i call|exist|does the server have|are "
        "available|does the server offer|are served]",
        "[list|name|show|tell me|give me] [the|all|all the|your] [endpoints|routes|paths|urls|"
        "api endpoints]",
        "[what is|which is|where is] the [chat|generate|completion] endpoint",
        "[endpoints|api endpoints|routes|the api]",
        "how do i [call|reach|use|talk to|query|access] the [api|server|model|endpoint]",
        "[where|to which url|to which path|to what endpoint] do i [post|send] [a|my|the] [chat|"
        "message|prompt|request|question|conversation]",
        "[which|what] [path|url|route|endpoint] [answers|serves|handles|takes] [a chat|chat|a "
        "conversation|prompts|completions|a prompt]",
        "what does [/chat|/generate|the chat endpoint|the generate endpoint] do",
        "how do i [chat with|send a prompt to|send a message to|ask] the [model|server]",
        "[all|the|some|which] [endpoints|routes|paths|http endpoints|urls] [of|on|in] [the "
        "server|berth|the api|this service][ please| then|]",
        "[over|through|by|with] [which|what] [endpoints|paths|urls|routes] [can i|do i|does one] "
        "[talk|speak|reach it|ask|send prompts|chat]",
        "[show|give|name|tell] me [the |every |][endpoint|route|path|url][s|] [that exist|there "
        "are|you serve|i can use|i can call|of it]",
        "what can i [post|send] to the server",
    ),
    about(
        "openai",
        "Yes. Point the OpenAI client at the server with base_url http://localhost:5000/v1 and "
        "it just answers.",
        "[can i|could i|may i|how do i|how can i|how to|do you let me] [use|connect|try|point] "
        "the openai [client|sdk|api|library|package|python client]",
        "[is it|is berth|is the server|are you|is this] openai[ |-]compatible",
        "[does|do|will] [it|you|berth|the server] [support|work with|speak|understand] [openai|"
        "the openai api|the openai sdk|langchain|open webui|openai clients]",
        "[openai|langchain|open webui] [support|client|api|sdk|compatibility]",
        "[can i|how do i|how can i] use [langchain|open webui|an openai client]",
        "what is the [base url|base_url]",
        "[which|what] [base url|base_url] [do i need|do i use|should i set|goes into the client]",
        "[which|what] clients [work|can i use|are supported]",
        "[will|would|does|can|could] [my|an|any|a|the] openai [client|sdk|library|program|app|"
        "code] [work|run|talk|connect|function|be used][ here| too| with berth| with it| with "
        "the server| unchanged|]",
        "[is|are] [the |][openai client|openai sdk|python client|langchain] [supported|usable|"
        "possible|allowed|compatible][ here| with berth|]",
        "[talk|connect] to [it|berth|the server] with [openai|langchain|open webui]",
    ),
    about(
        "tensor parallelism",
        "Tensor parallelism splits every layer's matrices over several GPUs, so that one model "
        "too large for one GPU runs on all of them together.",
        "what is [tensor parallelism|tensor parallel|model parallelism|tp|a tensor parallel size]",
        "[explain|describe|define|tell me about] [tensor parallelism|tensor parallel|model "
        "parallelism]",
        "[what does|what is the meaning of] [tensor parallelism|tensor parallel|model "
        "parallelism][ mean| do|]",
        "how does [tensor parallelism|tensor parallel|model parallelism] work",
        "[tensor parallelism|tensor parallel|model parallelism][ explained| meaning| please|]",
        "how [is|can] [a|the|one] [large |big |]model [split|spread|shared|run|be split|be "
        "spread] [over|across|on|among] [several|many|two|multiple|more] gpus",
        "why [do we|would i] need [tensor parallelism|several gpus]",
        "what happens with [two|several|many|more] gpus",
        "[how do|can] several gpus [share|run|hold] one model",
    ),
    about(
        "stop",
        "Press Ctrl-C in its terminal, or POST /shutdown where that is allowed.",
        "how [do|can|should|would] [i|we|you|one] [stop|shut down|shutdown|turn off|end|kill|"
        "halt|terminate|quit|exit|close] [the server|it|the service|the program|berth|everything|"
        "the process]",
        "how to [stop|shut down|turn off|end|kill|halt|quit] [the server|it|the service|berth]",
        "[stop|shut down|shutdown|turn off|kill|end|halt|quit] the [server|service|program]",
        "[which|what] [endpoint|command|request|path] [stops|ends|shuts down|kills|terminates] "
        "[the server|it|the service]",
        "[what is|where is|what does] [/shutdown|the shutdown endpoint][ do| for|]",
        "[i want|i need|i would like|i have] to [stop|shut down|turn off] [the server|it|the "
        "service]",
        "the server [must|should|has to] stop",
        "[make|let] the [server|service] stop",
    ),
    about(
        "port",
        "The server listens on port 5000 by default.",
        "[which|what] port [does|is|do|should|will] [the server|it|berth|i|you|the service|the "
        "api] [use|on|listen on|listening on|run on|connect to|used by|open|answer on|served on|]",
        "[which|what] [network |tcp |http |][port|port number] [is|was|gets|will be] [the server|"
        "berth|it|the api] [on|listening at|listening on|opening|bound to|reached at]",
        "[the|a] port [number |][for|of] [the server|berth|my client|the api|clients|curl]",
        "[my|a|the] [client|browser|curl|program] [needs|wants|asks for] the [port|port "
        "number][, | ; ][which|what is it|which one|what number|]",
        "[on|at|to] [which|what] port[ does it| does the server| is it| is the server| does "
        "berth|][ run| listen| listening| running| answer| served|]",
        "[what is|what's|tell me|give me|which is] the [default |server |][port|port number]",
        "[port|port number|default port|the port|server port]",
        "where does the server [listen|run|answer]",
        "what is the [address|url] of the server",
        "[where|at which address] can i [reach|find|call] the server",
        "is [the port|it] [5000|8000|8080|80]",
        "[which|what] port[ number|] [do i|should i|must i|can i] [open|use|expose|forward|call|"
        "connect to]",
        "what number is the port",
    ),
    about(
        "stream",
        'Add "stream": true to the request, and the tokens arrive as server-sent events.',
        "how [do|can|should|would] [i|we|you|one] [stream|get streaming|turn on streaming|"
        "receive a stream|enable streaming|use streaming|get a stream|stream tokens|stream the "
        "answer|stream an answer|stream responses|stream output]",
        "how to [stream|enable streaming|get a stream|stream tokens|stream the answer|use "
        "streaming|turn on streaming]",
        "[is streaming|does it support streaming|do you support streaming|does berth stream|can "
        "you stream|can it stream|does the server stream|is there streaming][ supported| "
        "possible|]",
        "[streaming|stream|token streaming|server-sent events|sse][ answers| tokens| support|]",
        "[can i|may i|i want to|i would like to] [get|see|receive|have|read] [the |][answer|"
        "tokens|words|text|response] [token by token|one by one|as they come|while it is written|"
        "word by word|piece by piece|as it is generated]",
        "what is streaming",
        "[which|what] [flag|option|parameter|setting|field] [turns on|enables|starts] [streaming|"
        "the stream]",
        "[tokens|text] as [a stream|server-sent events]",
    ),
    about(
        "tests",
        "Run make test; it needs no GPU and no cluster.",
        "how [do|can|should] [i|we|you|one] [run|start|execute|launch] [the tests|the test suite|"
        "tests|all tests|the unit tests|its tests]",
        "how to [run|start|execute] [the tests|tests|the test suite]",
        "[run|start|execute] [the |all |][tests|test suite]",
        "[which|what] command [runs|starts|executes] the [tests|test suite]",
        "[how do i|how can i|how to] test [it|berth|the code|my change|the project|this]",
        "[tests|testing|make test|test suite|running tests]",
        "are there [tests|any tests|unit tests]",
        "do the tests need [a gpu|a cluster|gpus]",
        "[is there|what is] a [test suite|test command]",
        "what does make test do",
        "[check|verify] [that |if |]the [code|project] [works|is correct|still works]",
    ),
    about(
        "run",
        "Run make run: it starts the server with Pocket, the built-in model, so you need no GPU "
        "and no weights.",
        "how [do|can|should] [i|we|you|one] [start|run|launch|try|use|boot|bring up] [the server|"
        "berth|it|the service|the project|this]",
        "how to [start|run|launch|try] [the server|berth|it|this]",
        "[start|run|launch|try|boot] [the server|berth]",
        "[which|what] command [starts|runs|launches] [the server|berth|it]",
        "[how do i|how to] [get started|begin|start|start here]",
        "[getting started|quick start|quickstart|first steps|make run|where do i start|where to "
        "begin]",
        "[can i|how can i|may i|could i] [try|run|use|test|start] [it|berth|this] without [a gpu|"
        "a cluster|weights|gpus|a graphics card|kubernetes]",
        "[i have|i own|there is|we have|my computer has|my laptop has] no [gpu|graphics card|"
        "cluster|weights|kubernetes|video card][, | ; | but |. ][can i run it|how can i try "
        "berth|how do i start berth|what can i run|can i use berth|is there a way to run it|how "
        "do i try it]",
        "[try|run|test|use|start] [berth|it|the project] [on my laptop|on a cpu|on cpu only|at "
        "home|without anything|without gpus|locally]",
        "[how|where] [can|does] a [beginner|newcomer|new user] [start|begin|try berth|try it|run "
        "it]",
        "do i need a [gpu|cluster|graphics card]",
        "[what|which] is the [first|quickest|easiest] [step|way to try it|way to start]",
        "what does make run do",
    ),
    about(
        "models",
        "Berth has presets for Llama 2, Falcon and more open-weight families; berth presets "
        "lists them all.",
        "[which|what] [models|model families|presets|language models|llms|families] [are there|"
        "do you have|does berth have|are supported|does it support|can i use|can i run|are "
        "available|does berth support|can i deploy|exist|can it serve|does it serve|come with "
        "berth]",
        "[list|show|name|tell me|give me] [the|all|all the|your|which|some] [models|presets|"
        "model families|supported models|available models]",
        "[can i|does it|does berth|can it|do you|can berth] [run|support|serve|use|deploy|have] "
        "[llama|falcon|llama 2|llama-2|mistral|other models|many models|a llama|large models]",
        "[which|what] [models|model|llms|language models|families] [does|can|will] [berth|the "
        "server|the system|the project|it all] [support|run|serve|handle|know|offer|take|host]",
        "[models|presets|llms] [that|which] [berth|it|you] [supports|can run|serves|has|knows]",
        "[with|for] [which|what] [models|llms|families] does [it|berth|this] work",
        "[supported|available] [models|presets]",
        "what is a preset",
        "what does berth presets do",
        "[how do i|how to] [list|see|find|choose] [the |a |][presets|models|preset|model]",
        "how many [models|presets] [are there|does berth have|do you have]",
        "where are the presets",
    ),
    about(
        "health",
        "GET /healthz says whether the model is really able to answer: it looks at the engine's "
        "progress, not only at a running process.",
        "[how do i|how can i|how to|how should i] [check|test|see|know|tell|monitor] [the health|"
        "if the server is healthy|whether it is healthy|if it is healthy|the server's health|if "
        "the model is ready|if it works|if the server is up|if it is running|whether the server "
        "is alive]",
        "[what is|where is|what does|explain|tell me about] [the health endpoint|/healthz|"
        "healthz|the health check][ do| for|]",
        "[health|health check|healthz|/healthz|is it healthy|is the server healthy|is the model "
        "ready]",
        "[which|what] [endpoint|path|url] [shows|reports|checks|tells|gives] [the health|health|"
        "if it is healthy|readiness]",
        "how does the health check work",
        "is there a health [endpoint|check]",
        "is the [server|model|engine] [alive|up|ok|running|healthy]",
    ),
    about(
        "kv cache",
        "The KV cache keeps the keys and values of past tokens, so that each new token is "
        "computed without reading the whole text again.",
        "what is [the|a] kv[-| ]cache",
        "[explain|describe|define|tell me about] the kv cache",
        "what does [the|a] kv cache [do|hold|store|keep|mean]",
        "why [is there|do we need|does a model need|have] a kv cache",
        "kv cache[ explained| meaning| definition| please|]",
        "what is [stored|kept] in the kv cache",
        "how does the kv cache work",
        "what is [a key value cache|the key-value cache|key value caching]",
    ),
    about(
        "controller",
        "The controller watches Workspaces and makes the cluster match them: it plans the "
        "actions, applies them, and reports what it observed.",
        "what is the [controller|operator|berth controller|kubernetes controller]",
        "what does the [controller|operator|berth controller] do",
        "[explain|describe|tell me about] the [controller|operator]",
        "how does the [controller|operator] work",
        "why is there a [controller|operator]",
        "do i need the [controller|operator]",
        "[controller|the controller|operator]",
        "[who|what] [watches|looks after|reconciles|manages|takes care of] [the |][workspaces|"
        "workspace objects]",
    ),
    about(
        "api key",
        "Create a key with berth keys and send it as Authorization: Bearer; keys are stored only "
        "as hashes.",
        "how [do i|can i|to|should i] [get|create|make|add|use|set|issue|send] [an|a|the|my] "
        "[api key|key|token|password]",
        "[do i need|does it need|is there] an api key",
        "[api key|api keys|authentication|keys|auth]",
        "how does [authentication|auth|the api key] work",
        "[how are|where are] [the |api |]keys [stored|kept|saved]",
        "what does berth keys do",
        "how do i [protect|secure|lock] the [server|api]",
        "[how|where] [would|could|can|must|shall] [i|we|an admin|a user] [make|get|create|obtain|"
        "generate|add|issue] [an|another|some|one more|my own|a second] [api |]key",
        "[create|make|generate|issue|give me|new] [a|an|another|] [new |fresh |][api |]key",
        "[which|what] header [carries|takes|holds] the [key|api key]",
        "how do i [authenticate|log in]",
    ),
    about(
        "helm",
        "Use the charts: helm install berth charts/berth for the controller, or charts/model for "
        "one model without a controller.",
        "[how do i|how to|how can i|can i] [install|use|deploy] [with|] helm",
        "[how do i|how to|how can i] install [berth|it|the chart|the controller|this]",
        "[is there|where is|do you have|which is] [a|the] [helm chart|chart]",
        "[helm|helm chart|helm install|charts|helm charts|installation|install berth]",
        "how do i [install|use|get] the [chart|helm chart|charts]",
        "what [is|are] the [charts|helm charts|chart][ for|]",
        "[can i|how do i] run one model without [a|the] controller",
        "how do i [set up|put] berth [in|on] my cluster",
    ),
    about(
        "weights",
        "berth pull fetches the weights of a preset, and berth build puts them into the image.",
        "how [do i|can i|to|should i|do we] [get|download|fetch|pull|obtain|load] [the |model |"
        "][weights|weight files|model files]",
        "where [do i get|are|do|can i find|do i put|come][ the|] [weights|model weights|weight "
        "files][ come from| go|]",
        "[weights|model weights|berth pull|weight download]",
        "what does berth pull do",
        "[which|what] command [downloads|fetches|pulls|gets] [the weights|a model|the model|"
        "weights]",
        "[download|fetch|pull] [the |a |][weights|model|model files]",
        "do i need [the |]weights",
    ),
    about(
        "commands",
        "The berth command has serve, chat, fit, check, presets, pull, build, plan, keys, bench, "
        "import and controller.",
        "[which|what] [commands|subcommands|cli commands] [are there|does berth have|do you have|"
        "can i use|exist|are available|does it have]",
        "[list|show|name|tell me|give me] [the|all|all the|all berth|the berth] [commands|"
        "subcommands|cli commands]",
        "[how do i|how to] use the [command line|cli|berth command]",
        "[what is|what does|explain|describe] the [cli|berth command|command line][ do| tool|]",
        "[commands|cli|command line|subcommands|berth commands]",
        "what can the [berth command|cli|command line] do",
    ),
    about(
        "licence",
        "Berth is licensed under Apache-2.0.",
        "[what is|what's|which is|under which is|tell me] the [licence|license][ of berth| of "
        "this project|]",
        "[which|what] [licence|license] [does berth have|does it have|is it|is berth under|do "
        "you use|does it use|applies|is used]",
        "[is berth|is it|is this] [open source|free|free software|open-source|free to use]",
        "[licence|license|open source]",
        "[under|with] [which|what] [licence|license][ is berth| is it|][ released| published|]",
        "[may i|can i|am i allowed to] [use|copy|change|sell|share] [berth|it|the code][ for "
        "free| at work| in my company| commercially|]",
        "how much does berth cost",
    ),
    about(
        "engine",
        "Berth's own engine does continuous batching, a block KV cache with prefix sharing and "
        "chunked prefill, with the same code on CPU and GPU.",
        "what is the [engine|native engine|inference engine]",
        "[explain|describe|tell me about] the [engine|native engine|inference engine]",
        "how does the [engine|native engine] work",
        "what [can|does] the [engine|native engine] do",
        "[which|what] engine [does berth use|is used|runs the model|do you use]",
        "[engine|native engine|the engine|continuous batching]",
        "[what is|explain|does it do|does berth do] continuous batching",
        "how are [many|several] requests [served|batched|handled] [at once|together|at the same "
        "time]",
        "does berth use vllm",
        "is the engine [fast|your own]",
    ),
    about(
        "multi gpu",
        "Start the server under torchrun with one process per GPU, for example torchrun "
        "--nproc_per_node 2.",
        "[how do i|how can i|how to|how should i] [use|run on|start with|serve with|run with|"
        "launch on] [two|several|multiple|many|more|all|four|eight] gpus",
        "[what is|why use|explain|how do i use|what does] torchrun[ do| for|]",
        "[torchrun|multi gpu|multi-gpu|multiple gpus]",
        "can [it|berth|the server] [use|run on] [two|several|multiple|many|more] gpus",
        "how do i [start|launch] [it|the server|berth] [with|under] torchrun",
        "[which|what] command [uses|starts] [several|multiple|two|all] gpus",
    ),
    about(
        "metrics",
        "GET /metrics gives Prometheus metrics: requests, tokens, latency and cache use.",
        "[are there|do you have|does it have|where are|is there|how do i get|how can i see|where "
        "do i find|where can i see] [the |any |][metrics|prometheus metrics|statistics]",
        "[metrics|prometheus|/metrics|monitoring|prometheus metrics]",
        "[which|what] [metrics|statistics] [are there|does it give|do you have|are exported|does "
        "the server export]",
        "[how do i|how can i|how to] [monitor|measure|observe|watch] [it|the server|berth|"
        "requests|latency]",
        "what does [/metrics|the metrics endpoint] [do|show|give]",
        "does [it|berth] [support|work with|export to] prometheus",
    ),
    about(
        "sampling",
        "Set temperature and top_p in the parameters: lower values make the answer more certain, "
        "higher values more varied.",
        "[what is|what does|explain|how do i set|how do i change|what are] [the |][temperature|"
        "top_p|top p|temperature and top_p|sampling parameters][ do| mean| for|]",
        "[which|what] parameters [can i set|are there|can i pass|can i tune|does generate take|"
        "can i change|do you have]",
        "[temperature|top_p|parameters|sampling|sampling parameters]",
        "[how do i|how can i|how to] make [the |][answers|answer|output] [more|less] [random|"
        "creative|certain|varied]",
        "[which|what] temperature [should i use|is good|do i set]",
        "what is max_gen_len",
    ),
    about(
        "contribute",
        "Read README.md first, run make test, and open a pull request.",
        "[how do i|how can i|how to|can i|may i] [contribute|help with the code|send a patch|add "
        "code|make a pull request|open a pull request|report a bug|send a fix]",
        "[contributing|pull request|contribution|report a bug]",
        "where do i [report|file] [a bug|bugs|an issue]",
        "[do you|does berth] [accept|take|want] [contributions|pull requests|patches]",
        "i [found|have found] a bug",
        "i want to [contribute|help|add a feature|fix a bug]",
    ),
]
