"""Serving: models over HTTP, for programs (OpenAI's API) and for people (a page).

Modules:
    models             the models by name; each is opened when it is first needed
    worker             the thread of all work that takes longer than a moment and is no generation
    errors             errors as JSON, in OpenAI's shape
    app                the application: routers, the page, headers, errors
    page_files         the files of the page, which are read once
    openai_api         OpenAI's API
    page_api           what the page asks for besides

The folder `page` has the HTML, CSS and JavaScript, without a build step.
"""
