"""Small talk: greetings, thanks, goodbyes, and who is speaking."""

from __future__ import annotations

from .messages import NAMES
from .skill import Skill, fact

SELF = (
    "I am Pocket, a tiny demonstration model that comes with Berth. "
    "I know a few simple things and say so when I do not know."
)
UNKNOWN = "I am Pocket, a tiny demonstration model that comes with Berth; I do not know about that."
GREETING = "Hello! I am Pocket. How can I help you?"
WELL = "I am well, thank you! How can I help you?"
WELCOME = "You are welcome!"
GOODBYE = "Goodbye! Have a nice day."

_HI = (
    "[hi|hello|hey|hiya|howdy|greetings|hallo|yo|hey hey|heya|hello hello|hi hi|hullo|ahoy|welcome]"
)
_BYE = (
    "[bye|goodbye|good bye|bye bye|farewell|cheerio|ciao|see you|see ya|so long|bye now|"
    "take care|later]"
)

SKILLS: list[Skill] = [
    fact(
        "greeting",
        GREETING,
        "[hello|hi|hey|good morning|good evening|greetings], [i|we] [just|only|finally|have just|"
        "] [came|walked|dropped|logged|moved|signed|joined|stepped] [in|here|by|on|around][ now| "
        "today| to see you| to chat|]",
        "[hello|hi|hey|good morning|well hello], [this|it|today] is my [first|second|very first|"
        "next] [time|day|chat|try|hello|session|morning][ here| with you| on this site|]",
        "[howdy|hey|hi|hello|ahoy|greetings], [cowboy|neighbour|stranger|chief|captain|sailor|"
        "old boy|my dear|comrade|boss|pal|champ]",
        _HI
        + (
            "[ there| you| pocket| bot| friend| everyone| again| my friend| assistant| "
            "little model| buddy| mate| all| robot|]"
        ),
        "[good|a good|a very good] [morning|afternoon|evening|day][ to you| pocket| there| "
        "friend| everyone| my friend| bot|]",
        _HI
        + (
            "[, | |! ][i am new here|this is my first time|i just arrived|i came to visit|"
            "it is a nice day|i am back|here i am|it's me again|i am your new user|we have "
            "not met|my name is {name}|i am {name}|{name} here|i wanted to meet you|what a "
            "day|let me in|nice place|long time no see]"
        ),
        "[a [lovely|wonderful|warm|nice|happy] [morning|day|evening|hello] to you|wishing you a "
        "good [morning|day]|warm greetings|my greetings to you|pleased to make your acquaintance|"
        "a big hello from me|i greet you|just saying hi|i say hello to you|hello from {name}|hi "
        "from {name}]",
        _HI
        + (
            "[ |, ][dear|sweet|little|small|tiny|old|good] [pocket|friend|bot|model|robot|"
            "helper|one|assistant]"
        ),
        _HI + "[ |, | pocket, ]good [morning|afternoon|evening|day]",
        _HI + "[ |, ][nice|glad|good|happy|pleased] to [meet|see] you[ pocket|]",
        "[nice|glad|good|happy|pleased|lovely|great] to [meet|see] you[ pocket| too|]",
        "[is anyone|is anybody|are you|is someone|anybody|anyone|you] [there|here|home|awake|"
        "listening]",
        "[morning|evening|afternoon|mornin|g'day|good to have you here]",
        "[i just want to|i want to|let me|i wanted to|i came to] [say|wish you] [hello|hi|hey|"
        "good morning|good day|a good day]",
        "[knock knock|can you hear me|do you hear me|hello is it me you are looking for|are you "
        "ready|are you online|let's chat|let's talk|can we talk|i am here|i'm back|i have "
        "arrived|start]",
        weight=3.5,
        noise=0.4,
        wrap=False,
        end="",
        emoji="👋 😊",
        slots={"name": NAMES},
    ),
    fact(
        "greeting",
        WELL,
        "[and you|and yourself|well and you|you there|dear friend|little one|old friend|pocket|"
        "my friend], how are [you|things|you doing|you feeling][ now| today| tonight|]",
        f"[{_HI} |{_HI}, |good morning, |]how are you[ today| doing| doing today| pocket| this "
        "morning| feeling| my friend| now|]",
        f"[{_HI} |{_HI}, |]how [do you feel|do you do|is it going|are things|is life|is your day|"
        "goes it|have you been|has your day been|is everything|are you getting on][ today| with "
        "you|]",
        f"[{_HI} |{_HI}, |]how's [it going|life|everything|your day|things]",
        f"[{_HI} |{_HI}, |][what's up|whats up|sup|wassup|what is up|what's new|what is new with "
        "you]",
        "[are you|you] [ok|okay|well|fine|alright|all right|good|happy|doing well][ today|]",
        "[is everything|everything] [ok|okay|fine|all right|alright] with you",
        "i am [fine|well|good], how are you",
        "i hope you are [well|fine|ok|doing well]",
        "[hope|trust] you are [well|fine|doing well]",
        "[how|so how] [are|do] you [feel|feeling|doing|today|right now|this evening|tonight|this "
        "week|these days|in there|getting along]",
        "[how was|how is] your [day|week|morning|weekend|evening|mood|night]",
        "[how does it feel|are you feeling|do you feel] [good|well|fine|great|ok|okay|today|"
        "happy][ today|]",
        "[how|how has] [the world|life|time|the day] [is |been ][treating|to|with] you",
        "did you [sleep well|have a good day|have a nice day]",
        "[having|are you having] a [good|nice] day",
        weight=2.5,
        noise=0.4,
        wrap=False,
        emoji="😊 👍",
    ),
    fact(
        "thanks",
        WELCOME,
        "[thanks|thank you|many thanks|cheers], [pocket|friend|bot|my dear|little one], [you "
        "helped|you were great|that was nice|you know a lot|i learned a lot|i am happy now|it "
        "worked|you did well|you did a good job]",
        "[thanks|thank you|thx|ty|many thanks|cheers|much obliged|thank you kindly|tysm|merci|"
        "thanks a lot|thank you very much|thank you so much|thanks a million|thanks a bunch|big "
        "thanks]"
        "[ pocket| friend| my friend| for your help| for that| for the help| for the answer| for "
        "everything| again| for helping me| for your time| indeed| a lot| so much| for your "
        "kindness| mate|]",
        "[that was|that is|that's|this was|you are|you were|you have been] [very |so |really |"
        "most |][helpful|kind|useful|great|nice|perfect|good of you|a great help|brilliant|"
        "wonderful][, thanks|, thank you| pocket|]",
        "i [really |very much |][appreciate|value] [it|that|this|your help|the help|your answer|"
        "your time]",
        "[great|perfect|good|nice|ok|okay|super|wonderful|excellent|awesome|cool|lovely|got it|"
        "all right|brilliant|fine], [thanks|thank you|thx|thanks a lot]",
        "[thanks|thank you|many thanks|thx|cheers|thank you so much|thanks a lot] for [helping|"
        "the explanation|the quick answer|answering|the tip|the recipe|being kind|being here|"
        "listening|explaining|your patience|all this|your service|the nice talk|your kind words|"
        "the information|making that clear|telling me]",
        "[thanks|thank you|cheers|many thanks], [that was|this was|you are|you were|it was|that "
        "is|it is] [helpful|kind|useful|great|perfect|a help|what i needed|good to know|nice|"
        "just right|very clear|so kind]",
        "[ok|okay|well|oh|ah|alright|lovely|wow|yes|super|that's great], [thanks|thank you|many "
        "thanks|thank you so much] [for that|for this|for it|for the help|again|pocket|a lot]",
        "[i am|we are|i'm] [thankful|grateful|happy with it|glad you helped|glad about the "
        "answer|obliged to you|full of thanks] [for this|for it|for the help|for your time|today|"
        "]",
        "[great|good|nice|excellent|well] [job|answer|work|done|help][ pocket|, thanks|]",
        "i am [very |so |really |][grateful|thankful|obliged]",
        "[i owe you one|you helped me a lot|that helped|that helps|that helps a lot|you saved my "
        "day|you're a star|you are the best|you rock|much appreciated|appreciated|bless you|how "
        "kind of you]",
        "[i want to|let me|i would like to|i just wanted to|i must|allow me to] [thank you|say "
        "thanks|say thank you|express my thanks|express my gratitude]",
        "[my thanks|accept my thanks|receive my thanks|with thanks|thanks are due|a thousand "
        "thanks|all my thanks][ to you|]",
        weight=4,
        noise=0.4,
        wrap=False,
        end="",
        emoji="😊 🙏",
    ),
    fact(
        "goodbye",
        GOODBYE,
        _BYE
        + (
            "[ pocket| for now| friend| my friend| everyone| then| and thanks| and take "
            "care| and good night| little model| bot| all|]"
        ),
        "[see you|see ya|talk to you|speak to you|catch you|until|till] [later|soon|tomorrow|"
        "next time|around|next week|then|again|we meet again][ pocket| friend|]",
        _BYE
        + (
            "[, | and |! ][i will be back|i come back later|it was nice|until tomorrow|i "
            "go home|i am off|have fun|be good|stay well|stay safe|all the best|it is late|"
            "my train leaves|dinner is ready|i must work|i will write again|see you next "
            "time|we talk again soon|have a good one|keep well|rest well]"
        ),
        "[i will|i'll|we will|we shall] [be back|come back|return|see you|talk again|speak again|"
        "meet again|be gone] [tomorrow|later|soon|next week|another day|some time|now]",
        _BYE
        + (
            " [dear|little|tiny|old|good|my dear|sweet] [pocket|friend|bot|model|robot|"
            "helper|one|assistant]"
        ),
        "[ok|okay|well|alright|right|so|fine], [bye|goodbye|see you|bye bye|farewell|good night|"
        "see you later|i am going|i am off|until next time]",
        "[good night|nighty night|sleep well|sweet dreams|night night|have a good night|good "
        "night and thanks][ pocket| friend| my friend| everyone|]",
        "[have|enjoy] [a|your] [nice|good|great|lovely|wonderful|pleasant] [day|evening|weekend|"
        "night|one|time|week|life]",
        "i [have to|must|need to|should|am about to|am going to|will|want to|have got to] [go|"
        "leave|run|go now|leave now|be going|sleep|head off|go to bed|log off|sign off|say "
        "goodbye|head home|be off|stop here][ now|, bye|, goodbye|]",
        "[i'm|i am] [leaving|off|going|going to bed|done|signing off|heading out|logging off|out "
        "of here|done for today|going home|finished here][ now|, bye| then|]",
        "[that is|that's|this is|that will be|that was] all[ for today| for now| thanks| i "
        "needed|, bye|, goodbye]",
        "[time to go|gotta go|got to go|end of chat|we are done|let's stop here|that's it for "
        "today|until we meet again|it was nice talking to you|nice talking to you|nice chatting "
        "with you|it was good to talk|it's late and i must sleep|time to say goodbye|take care "
        "of yourself]",
        weight=4,
        noise=0.4,
        wrap=False,
        end="",
        emoji="👋 😊",
    ),
    fact(
        "identity",
        SELF,
        "[who|what] [exactly|really|actually|then|on earth] [am i|are we] [talking to|speaking "
        "with|writing to|dealing with|asking]",
        "[i|we] [would like|would love|want|wish|am eager] to [know|learn|find out|hear] [more|"
        "something|all|a little|a thing or two] [about|of] [you|yourself|what you are]",
        "[what|which] [kind|sort|type] of [model|program|machine|ai|language model|bot|"
        "assistant] [gives|writes|sends|is giving|speaks|talks] [me |to me |][answers|these "
        "answers|this|here|now|]",
        "[which|what] [tasks|questions|topics|problems|jobs] [are you|would you be|have you "
        "been] [able|ready|made|trained|happy] to [answer|do|handle|help with|solve|talk about]",
        "[what|which] are [the things|the tasks|the topics|the questions|things] you [know|can "
        "do|can answer|help with|are good at|were made for]",
        "[who|what] are you[ pocket| really| exactly| then| anyway|]",
        "[who|what] [is|are] [this|that|pocket|you pocket|i talking to|i speaking to]",
        "[who|what] am i [talking|speaking|chatting|writing] [to|with]",
        "with whom am i [talking|speaking|chatting]",
        "[what is|what's|whats|tell me|say|give me|may i know|can i know|i want to know|may i "
        "ask] your name",
        "[what|how] [should|can|do|may|shall] i call you",
        "[do you have|have you got] a name",
        "your name[ please|]",
        "[tell me|say something|talk|speak|explain|share|describe] [about|] yourself",
        "[introduce|present|describe|identify|explain] yourself",
        "are you [a |an |][human|robot|bot|person|machine|ai|model|computer|real person|language "
        "model|chatbot|real|alive|program|llama|man|woman|assistant|people|artificial "
        "intelligence|neural network]",
        "are you [chatgpt|gpt|claude|siri|alexa|llama|gemini|a large language model|gpt-4|"
        "mistral|falcon]",
        "what [kind|sort|type] of [model|ai|bot|thing|assistant|program|machine|being|creature|"
        "system] are you",
        "[which|what] [model|ai|bot|assistant|language model|system|llm|program] [are you|is "
        "this|am i using|is running|do i talk to|answers me|is answering|is behind this]",
        "[who|what company|which company] [made|built|created|trained|wrote|designed|developed|"
        "invented] you",
        "[where|how|when|by whom|why] [were you|are you|have you been] [made|built|created|"
        "trained|born|developed|from]",
        "where do you come from",
        "where are you from",
        "what [can|do|could] you [do|know|help with|help me with|answer|offer|know about|tell me|"
        "talk about|understand]",
        "what [are you|are you good|are your skills|are your abilities|is your job|is your "
        "purpose|is your role|is your task|are you able to do|are you for|are you made for|"
        "questions can you answer|questions can i ask|can i ask you|topics do you know]",
        "how [big|large|small|old|smart|clever|many parameters|tiny|good|fast] are you",
        "how many parameters do you have",
        "[what|how] [is|are] your [size|parameters|age|knowledge|limits|limit|architecture]",
        "what is pocket",
        "[tell me about|describe|explain|who is|what about] pocket",
        "is your name pocket",
        "are you pocket",
        "[do you|can you] [think|feel|sleep|dream|eat|learn|have feelings|have a body|have a "
        "family|have friends|remember me|understand me]",
        "[how|in what way|with what] can you [help|assist|be of help|be useful|serve][ me| us|]",
        "[can|could|will|would] you [help|assist] me",
        "[is|am] [it|this|i] [a|talking to a|speaking with a|writing to a|dealing with a] [human|"
        "person|robot|machine|bot|program|computer|man|woman|real person]",
        "[is|does] [a|some|any] [human|person|man|somebody] [write|behind|type|sit behind|read] "
        "[this|these answers|your answers|it|that]",
        "[what|who] [might|may|could|would] you be",
        "[describe|explain|tell|say|show] [me |us |][a little |a bit |something |more |][about|"
        "of] [you|yourself|your abilities|your skills|your nature|what you are|who you are|what "
        "you can do]",
        "[say|tell me|state|reveal|explain] [who|what] you are",
        "[which|what] [name|title] do you [have|use|bear|carry|answer to|go under]",
        "[who|which people|which team|what person] [is|are|stands|was] [your maker|your creator|"
        "your author|your developer|behind you|responsible for you]",
        "[what|which] [tasks|jobs|things|subjects|questions|topics] [can|do|could] you [do|"
        "handle|solve|manage|know|answer|help with|help me with]",
        "[with what|in which things|where|how much] can you help[ me|]",
        "[you are|you're] [a robot|a human|a bot|a machine|real|a program|pocket|an ai], [right|"
        "aren't you|no|is that so]",
        "[are|so are] you [really |truly |some sort of |maybe |just ][a human|a robot|a person|a "
        "bot|alive|a machine|a program|an ai|a computer]",
        "[whom|who] do i [talk to|speak to|chat with|write to|have here|meet]",
        "[hello|hi|hey], [who are you|what are you|what is your name|what can you do|who is this|"
        "introduce yourself|tell me about yourself|are you a bot|are you a human]",
        "help",
        "i need [help|some help|your help|assistance]",
        "what should i know about you",
        "are you [smart|clever|intelligent|big|small|useful|conscious|dangerous|safe]",
        weight=6.5,
        noise=0.6,
        emoji="🤖 ⚓ 😊",
    ),
]
