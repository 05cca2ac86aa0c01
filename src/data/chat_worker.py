# Renders conversations with a model's chat template for a parent process. worker_common.py comes
# before this; the program runs both with python -I -c. A template comes with a model that somebody
# downloaded, and is code: it runs in Jinja's sandbox, in a process that can open no file and no
# socket and has little memory; the parent ends it where it takes too long.
#
# First comes one answer about the template: LENGTH and the name of its file, or what is missing.
# Then, until stdin ends:
#   r LENGTH request  ->  LENGTH answer
# Both are JSON. A request has "messages", or "prompt" and "completion"; and perhaps "tools" and
# "chat_template_kwargs". An answer has "text", and "prompt", the text that the completion follows, or
# "spans", where in the text (in characters) the assistant's turns are.
#
# Text and spans are those of transformers 5.24's apply_chat_template().
import codecs
import datetime
import importlib
import re
import resource

MEMORY = 1 << 30   # bytes of address space
SECONDS = 30       # of processor time for a request, should the parent be gone


def special_tokens(folder):
    """Name and text of the special tokens that templates may use: bos_token, eos_token, ..."""
    found = {}
    for file in ("special_tokens_map.json", "tokenizer_config.json"):
        for name, token in read_json(os.path.join(folder, file)).items():
            token = token.get("content") if isinstance(token, dict) else token
            if name.endswith("_token") and isinstance(token, str):
                found[name] = token
    return found


def templates_of(folder):
    """Where the templates are, and template texts by name; "default" is the usual one."""
    path = os.path.join(folder, "chat_template.jinja")
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            return path, {"default": file.read()}
    path = os.path.join(folder, "tokenizer_config.json")
    found = read_json(path).get("chat_template")
    if isinstance(found, str):
        return path, {"default": found}
    if isinstance(found, list):
        return path, {each["name"]: each["template"] for each in found}
    return None, {}


def make_environment():
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """{% generation %} ... {% endgeneration %}: notes where its output is."""
        tags = {"generation"}

        def parse(self, parser):
            line = next(parser.stream).lineno
            body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_note"), [], [], body).set_lineno(line)

        def _note(self, caller):
            text = caller()
            begin = sum(map(len, self.environment.done))
            self.environment.spans.append((begin, begin + len(text)))
            return text

    class PlainNamespace(jinja2.utils.Namespace):
        """namespace() without names that begin with an underscore."""

        def __init__(*arguments, **names):
            self, *values = arguments
            values = dict(*values, **names)
            for name in values:
                PlainNamespace.require_plain(name)
            jinja2.utils.Namespace.__init__(self, values)

        def __setitem__(self, name, value):
            PlainNamespace.require_plain(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

        @staticmethod
        def require_plain(name):
            if isinstance(name, str) and name.startswith("_"):
                raise jinja2.exceptions.SecurityError(f"a namespace may not hold {name!r}")

    class PlainDict:
        """dict() without the rest of the type."""

        def __call__(self, *arguments, **names):
            return dict(*arguments, **names)

        def fromkeys(self, *arguments):
            return dict.fromkeys(*arguments)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
    environment.extend(done=[], spans=[])
    environment.filters["tojson"] = tojson
    environment.globals.update(
        raise_exception=raise_exception, dict=PlainDict(), namespace=PlainNamespace,
        strftime_now=lambda form: datetime.datetime.now().strftime(form))
    return environment


def messages_of(request, name):
    """Without keys of no value; a message's reasoning under each of the names that templates read."""
    messages = request[name]
    if not messages:
        raise ValueError(f"{name} is an empty list")
    result = []
    for message in messages:
        if not isinstance(message, dict):
            raise ValueError(f"{name} holds something that is no object")
        message = {key: value for key, value in message.items() if value is not None}
        thoughts = [message[key] for key in ("reasoning_content", "thinking", "reasoning")
                    if key in message]
        if thoughts:
            message = {"thinking": thoughts[0], **message, "reasoning_content": thoughts[0]}
        result.append(message)
    return result


class Renderer:
    def __init__(self, texts, tokens):
        self.environment = make_environment()
        self.texts, self.tokens, self.compiled = texts, tokens, {}

    def render(self, messages, request, prompting=False):
        tools = request.get("tools") or None
        name = "tool_use" if tools and "tool_use" in self.texts else "default"
        if name not in self.texts:
            raise ValueError("there are several templates, and none is named default")
        if name not in self.compiled:
            self.compiled[name] = self.environment.from_string(self.texts[name])
        done = self.environment.done = []
        self.environment.spans = []
        values = {**self.tokens, **(request.get("chat_template_kwargs") or {})}
        for part in self.compiled[name].generate(
                messages=messages, tools=tools, documents=None, add_generation_prompt=prompting,
                **values):
            done.append(part)
        self.marked = re.search(r"\{%-?\s*generation\s*-?%\}", self.texts[name]) is not None
        return "".join(done), self.environment.spans

    def before(self, messages, request, whole):
        """The text that an answer to the messages follows, which the whole must begin with."""
        text, _ = self.render(messages, request, prompting=True)
        if not whole.startswith(text):
            raise ValueError(
                f"the first {len(messages)} messages with the beginning of an answer are not how the "
                "whole conversation begins, so that the answer's tokens are not known; use a template "
                "with {% generation %}")
        return text

    def answer(self, request):
        tools = request.get("tools")
        if isinstance(tools, str):
            request["tools"] = json.loads(tools)
        if "prompt" in request:
            prompt, completion = (messages_of(request, name) for name in ("prompt", "completion"))
            whole, _ = self.render(prompt + completion, request)
            return {"text": whole, "prompt": self.before(prompt, request, whole)}
        messages = messages_of(request, "messages")
        whole, spans = self.render(messages, request)
        if not self.marked:
            spans = [self.turn(messages, i, request, whole) for i, message in enumerate(messages)
                     if message.get("role") == "assistant"]
        return {"text": whole, "spans": spans}

    def turn(self, messages, i, request, whole):
        """Where message i is: between what comes before an answer, and the text with it."""
        before = self.before(messages[:i], request, whole)
        text, _ = self.render(messages[:i + 1], request)
        if not whole.startswith(text):
            raise ValueError(f"the text of the first {i + 1} messages is not how the whole "
                             "conversation begins, so that the assistant's tokens are not known; use "
                             "a template with {% generation %}")
        return len(before), len(text)


def confine():
    """Nothing more can be opened, written or started, and memory is bounded."""
    datetime.datetime.now().strftime("%d %b %Y")  # the time zone's file is read now
    # As is what Jinja and Python would read when it is first used.
    for name in ("jinja2.debug", "linecache", "pprint", "textwrap", "html", "unicodedata",
                 "encodings.unicode_escape", "encodings.utf_16", "encodings.ascii"):
        importlib.import_module(name)
    for name in ("unicode_escape", "ascii"):
        codecs.lookup(name)
    for what, most in (("AS", MEMORY), ("NOFILE", 0), ("FSIZE", 0), ("CORE", 0), ("NPROC", 0)):
        resource.setrlimit(getattr(resource, "RLIMIT_" + what), (most, most))


def main(folder):
    try:
        path, texts = templates_of(folder)
        if path is None:
            return complain("no template")
        renderer = Renderer(texts, special_tokens(folder))
    except ImportError:
        return complain("no module jinja2")
    except (KeyError, OSError, TypeError, ValueError) as error:
        return complain(f"{type(error).__name__}: {error}")
    confine()
    name = path.encode()
    answer(len(name), name)
    for _, count in requests():
        used = resource.getrusage(resource.RUSAGE_SELF)
        limit = int(used.ru_utime + used.ru_stime) + SECONDS
        resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
        try:
            text = json.dumps(renderer.answer(json.loads(read_exactly(count)))).encode()
            answer(len(text), text)
        except SystemExit:
            raise
        except MemoryError:
            complain(f"needs more than {MEMORY >> 20} MiB of memory")
        except RecursionError:
            complain("calls itself too deeply")
        except BaseException as error:
            complain(f"{type(error).__name__}: {error}")


main(sys.argv[1])
