"""The plugin for funnels in any language, over HTTP, and a page to look at it.

words      what POST /recall is asked and answers; its schema
problems   every refusal: one sentence, the right status (RFC 9457)
bodies     reading a request's body, bounded in size and time
images     pictures that shoppers give: checked, kept for a while, fetched by address
route      POST /recall and /recall/ahead, bare ASGI
ahead      recall that was begun before the base was there
standing   what is served just now; replaced as a whole by a reload
control    FastAPI: experiments, switches, index, uploads, outcomes, health
steering   definitions and switches, written where all workers read them
shop_search  a search as shops have it, to compare with: words, SQLite
window     products of the catalogue, to show and to search by words
preview    both columns of the console, asked for and not logged
metrics    for Prometheus
running    uvicorn, signals
"""
