"""Every code once, with its title and its page. A code never gets a second meaning."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """wrong and right: a small example of the mistake and of its mend."""

    title: str
    text: str
    wrong: str = ""
    right: str = ""


CODES: dict[str, Code] = {
    "FR001": Code(
        "too large or too deep",
        "A flow file has at most 1 MB, 64 levels, and 100,000 characters a value. Keep one flow a file and tables in lookups/.",  # noqa: E501
    ),
    "FR002": Code("not text", "The file is not UTF-8 text, or holds control characters. Save it as UTF-8."),
    "FR003": Code(
        "a second document",
        "A line '---' starts a second document. One flow a file.",
        "flow: a\n---\nflow: b",
        "two files",
    ),
    "FR004": Code(
        "anchors, aliases, tags, merge keys",
        "These parts of YAML hide where a value comes from, so the language leaves them out. For reuse there are fragments.",  # noqa: E501
        "map: &base { … }",
        "use: address",
    ),
    "FR005": Code(
        "a key that is no word",
        "A list or an object stands where a name belongs; mostly an unquoted {{ … }}.",
        "A: {{ order.id }}",
        'A: "{{ order.id }}"',
    ),
    "FR006": Code(
        "the same key twice",
        "YAML would silently keep one of the two. Keep one yourself.",
        "A: order.x\nA: order.y",
        "A: order.x",
    ),
    "FR007": Code(
        "a ',' ends a value",
        "Inside { } and [ ] an unquoted value ends at the next comma, so a call with two arguments is cut in two.",
        "{ from: max(order.a, order.b) }",
        '{ from: "max(order.a, order.b)" }',
    ),
    "FR008": Code(
        "the rest of the line is a comment",
        "YAML starts a comment at ' #', even in the middle of what looks like a value.",
        "title: Order #5",
        'title: "Order #5"',
    ),
    "FR010": Code("not YAML", "The YAML parser gave up here. Quoting the value mends most of these."),
    "FR011": Code("a tab", "YAML is indented with spaces."),
    "FR012": Code(
        "an unquoted template",
        "A value that starts with {{ or {% must be quoted.",
        "A: {{ order.id }}-1",
        'A: "{{ order.id }}-1"',
    ),
    "FR013": Code(
        "an unquoted special character",
        "A value may not start with @, ` or % unless it is quoted.",
        "A: @home",
        'A: "@home"',
    ),
    "FR014": Code(
        "an unquoted ': '", "': ' inside a value reads as a second key.", "title: Orders: new", 'title: "Orders: new"'
    ),
    "FR015": Code("text after a closing quote", "The whole value belongs inside the quotes.", 'A: "x" y', 'A: "x y"'),
    "FR016": Code("a line without ':'", "Every line of a block is key: value."),
    "FR017": Code(
        "a bracket is not closed",
        "A [ or { has no partner, or a comma is missing before the next item.",
        "A: [a, b",
        "A: [a, b]",
    ),
    "FR018": Code(
        "a quote is not closed",
        "A quoted value ends with the same quote. Double a single quote to write it inside single quotes.",
        "A: 'O'Neil'",
        'A: "O\'Neil"',
    ),
    "FR019": Code("a line that does not line up", "Entries of one block start in the same column."),
    "FR020": Code("an empty file", "The file holds nothing."),
    "FR021": Code(
        "the language's version", "The first line says which version of the language the file speaks.", "", "flowrun: 1"
    ),
    "FR022": Code("two flows with one name", "Names tell flows apart in the store, in logs and in dead letters."),
    "FR023": Code(
        "a word of workflows in another place, or of a later version",
        "What a step does (read, write, wait, choose) stands in a list under steps:. Some words of workflows are"
        " reserved: this version does not do them yet, and says so rather than ignore them.",
    ),
    "FR030": Code(
        "an unknown key",
        "Each box has a fixed set of keys, so a misspelt one is never silently ignored.",
        "soruce: …",
        "source: …",
    ),
    "FR031": Code("the wrong form", "A block, a list, or one value stands where another form belongs."),
    "FR032": Code(
        "a connection without a connector",
        "A connection names the connector class that speaks to the system.",
        "s4: { base_url: … }",
        "s4: { connector: s4hana, base_url: … }",
    ),
    "FR033": Code("an empty value", "The key is there, its value is not."),
    "FR034": Code("something required is missing", "The box cannot do without this key."),
    "FR035": Code("not a name", "Names in expressions are letters, digits and _, not starting with a digit."),
    "FR036": Code("true or false", "Only true and false are booleans (YAML 1.2: yes and NO are text)."),
    "FR037": Code("not one of the allowed words", "The key takes one of a few words."),
    "FR038": Code("not a number", "A whole number, or a percentage, belongs here."),
    "FR039": Code("not a time span", "A number and a unit: 250ms, 30s, 15m, 2h, 1d."),
    "FR041": Code(
        "a key that belongs to another",
        "number, where, at_least and empty belong to each; with belongs to use; key belongs to lookup.",
    ),
    "FR042": Code("optional beside default", "A default always gives a value, so optional can never apply."),
    "FR043": Code(
        "${…}",
        "There is no textual substitution. Templates are written {{ … }}; settings { env: NAME } and { secret: NAME }.",
        "A: ${X}",
        'A: "{{ env.x }}"',
    ),
    "FR044": Code(
        "a plain nested object",
        "from, value and default are real field names in real systems, so a nested object is marked: wrap it in map:, or write a dotted name.",  # noqa: E501
        "Ship: { Street: order.street }",
        "Ship: { map: { Street: order.street } }",
    ),
    "FR045": Code(
        "no way, or two ways, to get the value",
        "A long form names exactly one of from, text, calc, value, first, each, map, use, or lookup with key.",
        "{ from: order.a, text: x }",
        "{ from: order.a }",
    ),
    "FR046": Code(
        "the wrong expression language",
        "from is JMESPath, text a template with {{ }}, calc a Jinja expression without braces.",
    ),
    "FR047": Code("each", "A loop is written NAME in PATH.", "each: order.items", "each: line in order.items"),
    "FR048": Code("the name is taken", "Loops, rules and fragments add names; they never hide one."),
    "FR049": Code("a fragment uses itself", "A fragment cannot contain itself."),
    "FR050": Code(
        "the field is built twice",
        "Two lines of the map build the same field, or one builds the whole and another a part of it.",
    ),
    "FR101": Code("the expression does not parse", "The text is not a valid expression of its language."),
    "FR104": Code(
        "an unknown name",
        "The first word of every path must be a name in scope: the record, vars, env, a rule, a loop's name.",
        "ordr.id",
        "order.id",
    ),
    "FR105": Code(
        "a constant where a path belongs",
        "A bare word is read as a path. A constant is written as one, so a forgotten quote never sends null.",
        "SalesOrderType: OR",
        "SalesOrderType: { value: OR }",
    ),
    "FR106": Code(
        "@ at the root", "@ means the current element of a filter or projection; at the root name the record."
    ),
    "FR107": Code(
        "an outer name inside a filter",
        "Inside [?…] names mean fields of the element. Use each: with where: to compare with something outside.",
    ),
    "FR108": Code(
        "no such field", "The contract of the object knows no such field.", "order.totl", "order.total_amount"
    ),
    "FR109": Code(
        "a field that was never seen", "The object's contract is open: the field is not known, but may exist."
    ),
    "FR110": Code("an unknown function", "JMESPath has a fixed set of functions."),
    "FR111": Code("an unknown filter or test", "Only the filters and tests of the reference exist."),
    "FR112": Code("the wrong number of arguments", "The function or filter takes another number of arguments."),
    "FR113": Code("a value of the wrong type", "The function, filter or operator does not take this type."),
    "FR114": Code(
        "text compared with a number",
        "JMESPath answers null when text is ordered against a number. Use calc, which reads plain decimal text as a number.",  # noqa: E501
    ),
    "FR115": Code(
        "a projection shifts a list",
        "A projection drops nulls, so places shift. Use each: to keep one output per input.",
    ),
    "FR116": Code(
        "a filter after a bare subtraction",
        "Filters bind before operators: a - b | abs is a - (b | abs). Write parentheses.",
    ),
    "FR117": Code(
        "a statement that templates do not have",
        "macro, include, import, extends, call and block are not part of the language.",
    ),
    "FR118": Code("an expression that is too long or too deep", "Split it: name parts under vars:."),
    "FR119": Code("null in a comparison", "Null cannot be ordered against anything; ask `… is missing` first."),
    "FR120": Code("an unknown converter", "The words after as: are a fixed list.", "as: uper", "as: upper"),
    "FR121": Code("a converter's arguments", "The converter takes other arguments.", "as: truncate", "as: truncate 35"),
    "FR122": Code(
        "a converter of the project that cannot be used",
        "flowrun.yaml lists the converters in Python that its flows may use; each is an installed entry point of the "
        "group flowrun.converters, declared with what it takes, what it gives, and examples.",
    ),
    "FR130": Code(
        "a case that is never reached", "Cases are read from the top; after one without when: nothing else is asked."
    ),
    "FR131": Code(
        "no last case",
        "When no condition holds there must still be an answer.",
        "- { when: big, value: A }",
        "- { when: big, value: A }\n- { value: B }",
    ),
    "FR132": Code(
        "a default that looks like a path",
        "A bare default is a constant. To read a value write { from: … }.",
        "default: order.x",
        "default: { from: order.x }",
    ),
    "FR140": Code(
        "a value that an environment lacks",
        "env.NAME must have a value in every environment, or the flow works in one and fails in another.",
    ),
    "FR145": Code(
        "the wrong number of key parts",
        "A lookup with two key columns takes key: [a, b]; one with a single column takes from: or a key of one part.",
        "{ lookup: plants, key: [order.country] }",
        "{ lookup: plants, key: [order.country, order.group] }",
    ),
    "FR146": Code(
        "a code in the samples without a row",
        "Records under samples/ hold values that the lookup would miss.",
    ),
    "FR150": Code("no such lookup", "lookup: names a table of this flow's lookups: box."),
    "FR151": Code("no such connection", "Connections are declared in flowrun.yaml."),
    "FR152": Code("no such fragment", "use: names a fragment file of this project."),
    "FR153": Code("a lookup needs one source", "Exactly one of file, table, xref, connection."),
    "FR154": Code(
        "a lookup without on_miss",
        "There is no silent default: say what a missing row means.",
        "lookups: { c: { file: … } }",
        "on_miss: error",
    ),
    "FR155": Code("a table file that cannot be read", "The file is missing, outside the project, or not a table."),
    "FR156": Code("no such column", "The first line of a table file names its columns."),
    "FR157": Code("a key twice", "A table has one row per key."),
    "FR158": Code(
        "a connector that is not installed", "connector: names an installed connector; flowrun connectors lists them."
    ),
    "FR159": Code("no such object", "The connector does not know the object."),
    "FR160": Code(
        "an unknown error class",
        "Classes are rate_limited, network, auth, bad_data, rejected, duplicate, not_found, conflict, unknown_outcome, other.",  # noqa: E501
    ),
    "FR161": Code(
        "error classes without a policy",
        "The connector can raise classes for which neither on_error nor other says what follows.",
    ),
    "FR162": Code("an object that cannot be read", "The system does not offer this object for reading."),
    "FR163": Code(
        "a filter the source does not have", "filter: is sent to the source; it must be able to filter by the field."
    ),
    "FR164": Code("a cursor that is no field of the record", "A cursor is written RECORD.FIELD."),
    "FR165": Code("a cursor that does not order changes", "The object cannot be read since a value of this field."),
    "FR166": Code("not exactly one trigger", "webhook, poll or schedule: one of them."),
    "FR167": Code("no such event", "The connector declares the events it sends."),
    "FR168": Code("a poll without a cursor", "Say which field orders changes, or full: true."),
    "FR169": Code(
        "a cursor without overlap", "Systems write changes late; without going back a little, some are never seen."
    ),
    "FR170": Code(
        "groups under a cursor", "A group is built from its complete set of rows; this source cannot read them again."
    ),
    "FR171": Code(
        "an identity that changes, or an answer asked too late",
        "A record's key, version and lane name it for good, so they rest on its own fields and the tables of the flow, "
        "never on cross-references or other systems, whose answers change. What save: reads of an answer cannot ask "
        "anybody else either.",
        "key: { from: order.id, lookup: customers }",
        "key: order.id",
    ),
    "FR172": Code("not a cron line", "Five fields: minute hour day month weekday."),
    "FR173": Code("no such time zone", "Zones are IANA names such as Europe/Berlin."),
    "FR174": Code("an action the object does not have", "The connector says which actions an object takes."),
    "FR175": Code("create without an idempotency key", "Without one, a retry may create the object twice."),
    "FR176": Code("a field that cannot find or match", "The connector says by which fields an object can be found."),
    "FR177": Code(
        "create without find_existing",
        "After a lost answer the target is asked before the call is repeated; without a field to ask by, delivery is at least once.",  # noqa: E501
    ),
    "FR178": Code("no match", "update, upsert and delete say which field names the object."),
    "FR179": Code("no such alert channel", "Channels are declared under alerts: in flowrun.yaml."),
    "FR180": Code("two tests with one name", "like: refers to tests by name."),
    "FR181": Code("no such test", "like: names a test further up."),
    "FR182": Code(
        "a test without its record",
        "given: holds the record under the name source.record gives it (group for grouped flows).",
    ),
    "FR183": Code("a test that expects nothing", "It could not fail."),
    "FR184": Code("match is not mapped", "The field that names the object must be filled by the map."),
    "FR185": Code("a lookup nobody uses", "Take it away, or use it."),
    "FR186": Code("a value that needs itself", "Rules and vars may refer to each other, not in a circle."),
    "FR187": Code("a flow without tests", "Examples in the file keep it right when it changes."),
    "FR188": Code("a field no test looks at", "Nothing would notice if this field went wrong."),
    "FR189": Code("a rule or variable nobody uses", "Take it away, or use it."),
    "FR190": Code("an ignore that ignores nothing", "The comment # flowrun: ignore[…] is no longer needed."),
    "FR191": Code(
        "a test names a field that is not built",
        "The map has no such field, so the expectation would always fail, or always hold.",
    ),
    "FR192": Code("a test gives a field that the source does not have", "The source's contract knows no such field."),
    "FR193": Code(
        "a stand-in for nothing",
        "lookups, xref and env under given: stand in for tables, cross-references and values that the flow uses.",
    ),
    "FR194": Code("not a moment", "now: is a date, a time and a zone.", "now: today", 'now: "2026-05-04T10:00:00Z"'),
    "FR195": Code(
        "a skip that cannot happen",
        "expect_skipped: names only_when, or a lookup with on_miss: skip.",
    ),
    "FR196": Code(
        "a secret outside a connection",
        "References to secrets and variables of the operating system stand in connections and alerts of "
        "flowrun.yaml, so that no expression, trace or dead letter can show them.",
    ),
    "FR197": Code(
        "a secret written out",
        "Write { secret: NAME }. It is looked for as the variable FLOWRUN_SECRET_NAME, then NAME, then in the folder "
        "that secrets: names, then in the system's keyring.",
        "api_key: 3f9a…",
        "api_key: { secret: xcart_api_key }",
    ),
    "FR198": Code("a case no test reaches", "No test expects what this case gives."),
    "FR199": Code(
        "a fragment nobody uses", "A fragment is checked where it is used, so this one is not checked at all."
    ),
    "FR200": Code("no such field in the target", "The target's contract knows no such field."),
    "FR201": Code("a read-only field", "The target sets this field itself."),
    "FR202": Code("a required field is missing", "The target refuses a create without it."),
    "FR203": Code("too long", "The value, or what the converter allows, is longer than the field takes."),
    "FR204": Code("too many digits", "The value has more digits after the point than the field takes."),
    "FR205": Code("the wrong type", "The field takes another type."),
    "FR206": Code("a value that is not allowed", "The field takes one of a fixed list."),
    "FR207": Code(
        "a field that reconcile cannot compare",
        "compare, owns, totals and per name fields of the target, on the left; what is compared field by field is "
        "filled by the map.",
        "totals: { TotalNetAmnt: order.total_amount }",
        "totals: { TotalNetAmount: order.total_amount }",
    ),
    "FR210": Code("a setting in the wrong form", "An address, a rate or a scheme is not written as it must be."),
}
