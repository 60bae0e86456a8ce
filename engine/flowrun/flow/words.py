"""The words of the language, declared once: the checker, the editor schema and the reference all read this.

A box is a mapping with a fixed set of keys. ``kind`` names what the value looks like (see ``KINDS`` in schema.py).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flowrun.credentials.schemes import SCHEMES
from flowrun.project import AlertChannel, Escalation, Mail


@dataclass(frozen=True, slots=True)
class Word:
    doc: str
    kind: str
    required: bool = False
    example: str = ""


Box = Mapping[str, Word]

FLOW: Box = {
    "flowrun": Word("Version of the flow language.", "version", True, "1"),
    "flow": Word("The flow's name: what commands, logs and dead letters call it.", "name", True, "xcart-order-to-s4"),
    "title": Word("One line for people.", "text", False, "X-Cart order → S/4HANA sales order"),
    "owner": Word("Who answers for this flow.", "text", False, "order-to-cash team"),
    "source": Word("Where records come from.", "source", True),
    "require": Word("Conditions checked before mapping; one that fails is bad_data.", "require"),
    "rules": Word("Named conditions; traces show them by name.", "rules"),
    "vars": Word("Values computed once per record.", "vars"),
    "lookups": Word("Tables from key to value.", "lookups"),
    "map": Word("The target's fields: left the target, right where the value comes from.", "map"),
    "target": Word("Where records go.", "target"),
    "steps": Word("A workflow instead of map + target: what is done, one step after the other.", "steps"),
    "on_error": Word("What each class of error leads to; the first matching class wins.", "on_error"),
    "privacy": Word("What people do not see: { mask: [order.email] }.", "privacy"),
    "tests": Word("Examples that must come out as written; run with flowrun test.", "tests"),
}

PRIVACY: Box = {
    "mask": Word("Fields of the record that are shown as ***, with all that is made of them.", "names", True),
}

FRAGMENT: Box = {
    "fragment": Word("The fragment's name, used as use: NAME.", "name", True, "address"),
    "needs": Word("Names that the caller must give in with:.", "names", False, "[a]"),
    "map": Word("The fields it builds.", "map", True),
}

SOURCE: Box = {
    "connection": Word("A connection of flowrun.yaml.", "text", True, "xcart"),
    "object": Word("The connector's object to read.", "text", True, "orders"),
    "record": Word("The name that expressions use for the record.", "name", True, "order"),
    "trigger": Word("When records come: webhook, poll or schedule.", "trigger", True),
    "reconcile": Word("Reading again behind a stream, to find what no webhook brought.", "reconcile"),
    "key": Word("What names a record: de-duplication, order, ledger, dead letters.", "value", True, "order.order_id"),
    "version": Word("What tells a newer copy of a record from an older one.", "value", False, "order.updated_at"),
    "keep_order_by": Word("Records with the same value are delivered one at a time, in order.", "value"),
    "only_when": Word("Records for which this does not hold are skipped and counted.", "calc"),
    "filter": Word("Field: value (or list of values) sent to the source.", "filter"),
    "expand": Word("Nested objects to bring along.", "names"),
    "group_by": Word("One target record per value: group.key and group.rows are in scope.", "path"),
}

TRIGGER: Box = {
    "webhook": Word("An event that the connector declares.", "text", False, "order.placed"),
    "poll": Word("Read every so often.", "poll"),
    "schedule": Word("Read at set times (cron, with a time zone).", "schedule"),
}

POLL: Box = {
    "every": Word("How often.", "duration", True, "10m"),
    "cursor": Word("The field that orders changes.", "path", False, "order.updated_at"),
    "overlap": Word("How far to go back before the cursor at each poll.", "duration", False, "5m"),
    "full": Word("Read everything each time (for objects without a change date).", "boolean", False, "true"),
    "page_size": Word("Records a page.", "count", False, "1000"),
}

SCHEDULE: Box = {
    "cron": Word("Five fields: minute hour day month weekday.", "text", True, "0 3 * * *"),
    "zone": Word("IANA time zone of the cron line.", "text", False, "America/New_York"),
    **{word: POLL[word] for word in POLL if word != "every"},
}

RECONCILE: Box = {
    "every": Word("How often.", "duration", False, "15m"),
    "full": Word("A full comparison at set times (cron).", "text", False, "0 3 * * *"),
    "look_back": Word("How far back to read.", "duration", False, "2h"),
    "cursor": POLL["cursor"],
    "compare": Word("Target fields that are compared; without it all of the map.", "names", False, "[quantity]"),
    "owns": Word("Which objects of the target are this flow's alone: all, or those with these fields.", "owns"),
    "totals": Word("Control totals: the target's field, and its value by the source.", "totals"),
    "per": Word("What totals are split by: the target's field, and its value by the source.", "totals"),
    "on_difference": Word("report or repair.", "text", False, "repair"),
}

REQUIREMENT: Box = {
    "rule": Word("The condition.", "calc", True, "order.items | length > 0"),
    "message": Word("What is said when it does not hold (a template).", "template", True),
    "level": Word("error (the record is bad_data) or warn.", "text", False, "warn"),
}

VALUE: Box = {
    "from": Word("A JMESPath expression over the names in scope.", "path", False, "order.customer_id"),
    "text": Word("A Jinja template; gives text.", "template", False, "XC-{{ order.order_id }}"),
    "calc": Word("A Jinja expression without braces; numbers are exact.", "calc", False, "n * 10"),
    "value": Word("A constant.", "constant", False, '"10"'),
    "first": Word("Cases with when:; the first that holds.", "first"),
    "each": Word("NAME in PATH; with map: it builds a list.", "each", False, "line in order.items"),
    "map": Word("An object (with each: one per row).", "map"),
    "use": Word("A fragment by name.", "text", False, "address"),
    "with": Word("What the fragment's names mean here.", "with"),
    "lookup": Word("A table of lookups:.", "text", False, "countries"),
    "key": Word("The key, for a lookup with several key columns.", "values"),
    "as": Word("Converters, left to right.", "converters", False, "decimal 2 half_up"),
    "default": Word("What stands when there is no value: a constant, or { from: … }.", "default"),
    "optional": Word("true: the field is left out when there is no value.", "boolean", False, "true"),
    "blank": Word("keep: blank text is a value.", "keep", False, "keep"),
    "null": Word("send: a missing value is sent as null (clears the field).", "send", False, "send"),
    "empty": Word("keep: a list without rows is sent empty.", "keep", False, "keep"),
    "when": Word("Whether the field is built at all.", "calc"),
    "where": Word("Which rows of each: are taken.", "calc", False, "address.type == 'S'"),
    "number": Word("A name that counts the rows taken, from 1.", "name", False, "n"),
    "at_least": Word("Fewer rows are bad_data.", "count", False, "1"),
}

ORIGINS = ("from", "text", "calc", "value", "first", "each", "map", "use", "key")
"""Exactly one of these; ``key`` counts only beside ``lookup`` with no other, ``map`` not beside ``each``."""

CASE: Box = {
    "when": Word("The condition; leave it out in the last case.", "calc"),
    **{word: VALUE[word] for word in VALUE if word not in ("when",)},
}

LOOKUP: Box = {
    "file": Word("A CSV or YAML file of the project.", "text", False, "lookups/countries.csv"),
    "find": Word("The key column, or a list of them.", "names", False, "xcart"),
    "return": Word("The column that is the answer.", "text", False, "sap_iso"),
    "table": Word("An inline table, key: value.", "table", False, "{ CC: D, PP: E }"),
    "xref": Word("Ids remembered from earlier writes.", "text", False, "customers"),
    "reverse": Word("true: from the target's id to the source's.", "boolean"),
    "connection": Word("A live look-up in a system.", "text"),
    "object": Word("The object of a live look-up.", "text"),
    "on_miss": Word("error, skip, or { use: VALUE, warn: true }.", "on_miss", False, "error"),
    "ignore_case": Word("true: capital and small letters are the same.", "boolean"),
    "trim": Word("true: white space around keys does not matter.", "boolean"),
}

ON_MISS: Box = {
    "use": Word("The value to use instead.", "default", True),
    "warn": Word("true: the record carries a warning.", "boolean", False, "true"),
}

TARGET: Box = {
    "connection": SOURCE["connection"],
    "object": Word("The connector's object to write.", "text", True, "A_SalesOrder"),
    "action": Word("create, update, upsert or an action of the connector.", "text", True, "create"),
    "match": Word("The target's field (or list) that names the object to change.", "names", False, "product_id"),
    "idempotency": Word("What names one intended effect.", "idempotency"),
    "save": Word("What to remember from the answer.", "saves"),
    "only_changes": Word("true: nothing is sent when nothing changed since the last send.", "boolean"),
    "batch": Word("How many records a call may carry.", "count", False, "50"),
    "guard": Word("Limits to what one run may change.", "guard"),
}

STEP: Box = {
    "id": Word("The step's name: steps.ID.response is what it was answered.", "name", True, "sales_order"),
    "when": Word("Whether the step is done at all.", "calc", False, "steps.payment.branch != 'ask_finance'"),
    "read": Word("Read one record of a system.", "read"),
    "write": Word("Write one record: map and target in one box.", "write"),
    "wait": Word("Look for a record every so often until it is there.", "wait"),
    "choose": Word("Branches; the first whose condition is true.", "branches"),
}
KINDS = ("read", "write", "wait", "choose")
"""Exactly one of these in a step."""
LATER_KINDS = ("call", "parallel", "for_each", "flow", "approve", "undo")
"""Reserved: they say so, rather than be called unknown."""

READ: Box = {
    "connection": SOURCE["connection"],
    "object": Word("The connector's object to read.", "text", True, "A_SalesOrder"),
    "key": Word("Its key, where that is one field.", "value", False, "vars.sales_order"),
    "find": Word("Field: value, where the key is another or has several fields.", "with"),
    "expand": SOURCE["expand"],
}

WRITE: Box = {
    **{word: TARGET[word] for word in ("connection", "object", "action", "match", "idempotency", "save")},
    "map": Word(FLOW["map"].doc, "map", True),
}

WAIT: Box = {
    **{word: READ[word] for word in ("connection", "object")},
    "find": Word("Field: value of what is waited for.", "with", True, "{ ReferenceSDDocument: it.id }"),
    "every": Word("How often to look.", "duration", True, "15m"),
    "at_most": Word("After so long without it the step fails as rejected.", "duration", True, "7d"),
}

BRANCH: Box = {
    "when": Word("The condition.", "calc", False, "steps.sales_order.response.TotalNetAmount > 5000"),
    "otherwise": Word("true: when none above is true; the last branch.", "boolean", False, "true"),
    "steps": Word("What is done then; may be empty.", "steps", True),
}

IDEMPOTENCY: Box = {
    "key": Word("A value that is the same however often the record is tried.", "value", True),
    "find_existing": Word("The target's field (or list) to ask by when an outcome is unknown.", "names"),
    "settles_after": Word("How long a search of the target may miss what was just written.", "duration", False, "5s"),
}

SAVE: Box = {
    "xref": Word("The cross-reference to remember in.", "text", True, "orders"),
    "source_id": Word("The source's id.", "value", True, "order.order_id"),
    "target_id": Word("The target's id.", "value", True, "response.SalesOrder"),
}

GUARD: Box = {
    "max_changes": Word("A run that wants more stops.", "count", False, "2000"),
    "max_share": Word("Share of the known records that a run may change.", "share", False, "40%"),
}

POLICY: Box = {
    "retry": Word("Try again: { times: 8, wait: 2s, max_wait: 5m }.", "retry"),
    "dead_letter": Word("The queue that keeps the record for correction.", "text", False, "orders"),
    "alert": Word("An alert channel of flowrun.yaml.", "text", False, "finance"),
    "pause": Word("connection: stop sending through this connection.", "text", False, "connection"),
    "flag": Word("review: mark the record for a person.", "text", False, "review"),
    "finish": Word("success: the record counts as confirmed.", "text", False, "success"),
    "undo": Word("Undo the earlier steps (reserved: comes with workflows).", "reserved"),
}

RETRY: Box = {
    "times": Word("How many tries after the first.", "count", True, "8"),
    "wait": Word("Wait before the first retry; doubles each time.", "duration", True, "2s"),
    "max_wait": Word("The longest wait.", "duration", True, "5m"),
}

TEST: Box = {
    "name": Word("What the example shows.", "text", True),
    "like": Word("Another test whose input this one starts from.", "text"),
    "given": Word("The record under its source name; lookups, xref, env, now, steps stand in.", "plain", True),
    "expect": Word("Fields and their values; others are not compared.", "plain"),
    "expect_exact": Word("The whole body.", "plain"),
    "expect_absent": Word("Fields that must not be there.", "names"),
    "expect_error": Word("{ class, field, message_has }.", "expect_error"),
    "expect_skipped": Word("only_when, or the lookup that skipped it.", "text"),
    "expect_steps": Word("Steps of a workflow in order, each { id, sent, failed, skipped }.", "expect_steps"),
    "expect_dead_letter": Word("{ queue, key }.", "expect_dead_letter"),
}

EXPECT_ERROR: Box = {
    "class": Word("The error class.", "text", False, "bad_data"),
    "field": Word("The target path.", "text", False, "to_Item[1].Material"),
    "message_has": Word("Words of the message.", "text"),
}

EXPECT_DEAD_LETTER: Box = {
    "queue": Word("The dead-letter queue.", "text", False, "orders"),
    "key": Word("The record's key.", "text", False, "8001"),
}

EXPECT_STEP: Box = {
    "id": Word("The step.", "text", True, "tracking"),
    "sent": Word("Fields of what it sent; others are not compared.", "plain"),
    "failed": Word("The error class that it failed with for good.", "text", False, "rejected"),
    "skipped": Word("true: its when: did not hold.", "boolean", False, "true"),
}

GIVEN_STEP: Box = {
    "response": Word("What the outside world answers.", "plain"),
    "error": Word("{ class, message }: what it says instead.", "plain"),
}

# -- flowrun.yaml ----------------------------------------------------------------------------------------------------

PROJECT: Box = {
    "flowrun": Word("Version of the language.", "version", True, "1"),
    "project": Word("The project's name.", "text", False, "shop-to-erp"),
    "connections": Word("The systems this project talks to, by name.", "connections"),
    "environments": Word("dev, test, qa, prod …: values, sandboxes, store.", "environments"),
    "store": Word("How the state is kept: what is encrypted, and how long.", "store"),
    "alerts": Word("Where alerts go, by name.", "alerts"),
    "drift": Word("When it is told that what arrives has changed its shape: { alert: on-call, share: 5% }.", "drift"),
    "owners": Word("Who answers for flows, by name.", "plain"),
    "secrets": Word(
        "A folder of the project with one file per secret (keep it out of git).", "text", False, ".secrets"
    ),
    "converters": Word("Converters in Python that flows may use, by name.", "names", False, "[gtin14]"),
    "privacy": Word("What people see of no flow: { mask: [email] }, without the record's name.", "privacy"),
    "on_error": Word("Policies for the error classes that a flow does not name.", "on_error"),
}

CONNECTION: Box = {
    "connector": Word("An installed connector class; flowrun connectors lists them.", "text", True, "s4hana"),
    "base_url": Word("Where the system answers.", "setting", False, "{ env: S4_URL }"),
    "auth": Word("How to prove who we are: exactly one scheme.", "auth"),
    "limits": Word("How much the system may be asked.", "limits"),
    "allow_private": Word("true: the address may lie in a private network.", "boolean", False, "true"),
    "verify": Word("false: the server's certificate is not checked; or a file of trusted ones.", "setting"),
    "client_cert": Word("Our own certificate in PEM (a file or a secret), for systems that ask for one.", "setting"),
    "client_key": Word("Its private key in PEM, when it stands apart.", "setting", False, "{ secret: s4_client_key }"),
    "client_key_password": Word("The key's password, when it has one.", "secret", False, "{ secret: s4_key_password }"),
}


def _auth_word(one: dataclasses.Field[object]) -> Word:
    kind = str(one.type)
    form = "any_setting" if kind.startswith("Mapping") else "secret" if kind.startswith("Secret") else "setting"
    required = one.default is dataclasses.MISSING
    return Word(str(one.metadata["doc"]), form, required, str(one.metadata["example"]))


AUTH: Mapping[str, Box] = {
    scheme: {one.name: _auth_word(one) for one in dataclasses.fields(cls)} for scheme, cls in SCHEMES.items()
}
"""From the schemes' own declarations."""

STORE: Box = {
    "key": Word("What is encrypted is encrypted with it: 32 bytes in base64.", "key", False, "{ env: FLOWRUN_KEY }"),
    "encrypt": Word("true: what records hold is encrypted with the key, too.", "boolean", False, "true"),
    "keep": Word("How long flowrun state prune keeps what has ended.", "duration", False, "90d"),
}

DRIFT: Box = {
    "alert": Word("The channel that hears; without it the flow's own for bad_data.", "text", False, "on-call"),
    "share": Word("Of the recent records, from which a change counts.", "share", False, "5%"),
    "every": Word("How often flowrun serve looks.", "duration", False, "15m"),
    "pause": Word("true: the flow is paused, too, when a change concerns so many.", "boolean", False, "true"),
}

LIMITS: Box = {
    "rate": Word("Most calls in a time: 20/s, or several that all hold: 5/s 60/m 5000/d.", "rate", False, "20/s"),
    "concurrent": Word("Most calls at once.", "count", False, "8"),
    "timeout": Word("How long one call may take.", "duration", False, "30s"),
    "webhooks": Word("Most webhooks of it in a time; beyond that its sender waits.", "rate", False, "200/s"),
}

ENVIRONMENT: Box = {
    "values": Word("What expressions see as env.NAME.", "env_values"),
    "sandbox": Word("Connections that run against their simulator here.", "names", False, "[s4, xcart]"),
    "store": Word("The state's database; without it .flowrun/state.db.", "setting", False, "{ env: FLOWRUN_STORE }"),
    "connections": Word("Settings of connections that differ here.", "overrides"),
    "approvals": Word("How many people must have approved a bundle for this environment.", "count", False, "1"),
    "approvers": Word("Who may approve: public keys by name, as flowrun promote key prints them.", "approvers"),
}


def _declared(settings: Any) -> Box:
    """The box of a settings dataclass of ``project``."""
    return {one.name: Word(**one.metadata) for one in dataclasses.fields(settings)}


ALERT: Box = _declared(AlertChannel)
MAIL: Box = _declared(Mail)
ESCALATE: Box = _declared(Escalation)
ALERT_WAYS = ("url", "mail", "apprise")
"""How a channel is told; at most one of them."""
MAIL_TLS = ("starttls", "implicit")

RESERVED_NAMES = ("vars", "env", "steps", "response", "group")
"""Names with a meaning of their own: no record, rule, loop or fragment may take them."""

RESERVED_STEP_WORDS = (*KINDS, *LATER_KINDS)
"""Words of workflows: they say so, rather than be called unknown."""
