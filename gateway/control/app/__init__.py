"""The control plane's application: every route, one handler of errors, one OpenAPI document.

    app      the application
    health   /healthz, /readyz, /metrics
    answers  what the OpenAPI document shows of answers: real ones, kept in `answers.json`

Used from outside: `app`.
"""
