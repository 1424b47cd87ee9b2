"""The console: pages for officers and auditors, in Chinese and English, over the control API alone.

A page reads and acts by asking the control API as the officer who looks at it, with that officer's session token: so
nothing that the API refuses is reachable here, and every act takes the API's own path, with its record. The console
keeps no state. What a browser holds is one sealed cookie (`session`); every form bears that session's token against
forgery, an `Idempotency-Key`, and the `ETag` of what its reader saw.

**A request's life.** `app` guards it: header fields that let the browser load nothing from elsewhere, cross-site posts
refused; `desk` opens the session, or asks for a sign-in that comes back to the page; the page's handler asks `api`,
and renders a template in the reader's language (`words`). A refusal of the API becomes a page that says what to do; a
form comes back with what was typed.

    app        the application: routes, guards, static files
    desk       one request: its session, its language, the API as its officer; what makes pages of answers
    api        asking the control API, in process
    session    the sealed cookie: token, idle end, form token, what the next page is to tell
    words      languages: catalogues, dates, articles of the law
    terms      the words for the API's values
    names      names of departments, entries and purposes for their ids
    sign_in    signing in and out, by a code, again before an act of weight, language
    grants     grants: the list, and one in the law's words
    acts       what is done to a grant: the form, what it will do, the act, what came of it
    records    records: questions, a use as a story, its proof, figures, exports
    today      what is due, stopped and about to end
    catalogue  entries of the directory
    policies   the law beside its Cedar, and why a call would be refused
    operation  how the gateway stands, without contents
    templates  the pages
    static     their style and sign
    locale     gettext catalogues
"""
