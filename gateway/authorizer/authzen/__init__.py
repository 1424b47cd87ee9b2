"""The OpenID AuthZEN Authorization API 1.0: standards-speaking tools ask what the policies say of a call.

An evaluation is a decision and no use: it opens no record, draws on no quota and lets no data flow. Who carries a call
by it asks for a check besides, or sends the call through the gateway. Evaluations are counted by who asks.

How AuthZEN's words map on this gateway's schema, the one table (docs/beside.md tells it to people):

    subject.type `system`, subject.id     a registered system; its department follows from the directory
    subject.properties.assurance          how well it is proven: `legacy`, `bearer` (where missing), `dpop`, `mtls`
    action.name                           the sharing mode: `query`, `verify`, `batch`, `download`
    resource.type `interface`, .id        `supplier/interface`; its dataset follows from the directory
    resource.properties.items             items asked for; where it is missing, what one grant gives
    resource.properties.parameters        parameters that grants constrain, as texts by name
    resource.properties.person            true where the call is about one person
    context.purpose                       the purpose, without which nothing is permitted
    context.scenario, context.operator    as `Sharing-Scenario` and `Sharing-Operator`

What is not named is not looked at. In verify mode each item counts as one that can be guessed, since no value is known.

    messages    requests and answers, read strictly and by name
    evaluating  one evaluation, by one evaluator
    searching   the three searches
    questions   the endpoints

Used from outside: `evaluating`, `questions`.
"""
