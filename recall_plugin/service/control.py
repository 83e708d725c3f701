"""Everything about the service that is not a search, as one FastAPI application."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from recall_plugin.query import Query

from .images import Uploads
from .intake import intake_routes
from .looking import looking_routes
from .metrics import ServiceMetrics
from .openapi import with_recall
from .problems import MEDIA_TYPE, Problem
from .standing import Service
from .steering_routes import steering_routes

_ABOUT = (
    "Adds what UniECS finds to the search a shop already runs. `POST /recall` merges it into the host's own "
    "list; everything else is for looking at the service and for steering it."
)
_SEE = "see /openapi.json for what there is"


def build_control(
    service: Service, uploads: Uploads, metrics: ServiceMetrics, embed_soon: Callable[[Query], None]
) -> FastAPI:
    """The application of every path but /recall and the console."""
    app = FastAPI(
        title="uniecs-online recall", version="1", description=_ABOUT, docs_url=None, redoc_url=None
    )
    _answer_with_problems(app)
    app.include_router(looking_routes(service, metrics))
    app.include_router(intake_routes(service, uploads, embed_soon))
    app.include_router(steering_routes(service, metrics))
    own_document = app.openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            app.openapi_schema = with_recall(own_document())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
    return app


def _answer_with_problems(app: FastAPI) -> None:
    """Every refusal in one form, whoever refuses."""

    def answer(problem: Problem) -> Response:
        return Response(problem.body(), problem.status, media_type=MEDIA_TYPE, headers=problem.headers)

    @app.exception_handler(Problem)
    async def own(_: Request, error: Problem) -> Response:
        return answer(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return answer(Problem(422, f"{where}: {first['msg']}; {_SEE}"))

    @app.exception_handler(HTTPException)
    async def foreign(request: Request, error: HTTPException) -> Response:
        said = f"{request.method} {request.url.path[:200]}: {error.detail}; {_SEE}"
        return answer(Problem(error.status_code, said, headers=error.headers or {}))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return answer(Problem(500, f"the service failed ({type(error).__name__}); see its log"))
