"""Serving: models over HTTP, for programs (OpenAI's API) and for people (a page).

Modules:
    models             the models by name; each is opened when it is first needed
    engines            opens a model to generate from
    batch              the running batch and its thread
    thread_count       how many threads a model generates fastest with
    worker             the thread of other work that takes longer than a moment
    disconnects        work that ends when its client goes away
    texts              the type of the texts that clients send
    errors             errors as JSON, in OpenAI's shape
    security           who may ask: keys, host names, origins; headers for browsers
    body_limit         the largest body
    connections        deadlines of slow clients, the longest head
    metrics            figures for Prometheus; /health
    app                the application: routers, the page, and what every request passes through
    server             the socket, and an end in order
    page_files         the files of the page, which are read once
    openai_api         OpenAI's API
    page_api           what the page asks for besides

The folder `page` has the HTML, CSS and JavaScript, without a build step.
"""
