"""Errors as JSON, in the shape of OpenAI's API, for every status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from gpt_research.base.errors import UserError

TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
"""OpenAI's names for kinds of errors; other statuses below 500 are `invalid_request_error`."""


class ApiError(HTTPException):
    """A request cannot be served.

    Args:
        param: the name of the field that is wrong.
        code: a word by which programs tell errors apart, such as `model_not_found`.
        details: more fields of the error, for programs.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(status, message, headers)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.details = details or {}


class ErrorDetail(BaseModel):
    """What is wrong."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """The JSON of every error."""

    error: ErrorDetail


RESPONSES: dict[int | str, dict[str, Any]] = {"4XX": {"model": ErrorBody}, "5XX": {"model": ErrorBody}}
"""What the OpenAPI document says about the errors of every route."""


def body(error: ApiError) -> dict[str, Any]:
    """Return the JSON of an error."""
    kind = TYPES.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
    about = {"message": error.message, "type": kind, "param": error.param, "code": error.code}
    # What was asked for may hold half a character, which JSON can ask for and UTF-8 cannot answer.
    whole = {name: text and text.encode("utf-8", "replace").decode() for name, text in about.items()}
    return {"error": {**whole, **error.details}}


def answer(error: ApiError) -> JSONResponse:
    return JSONResponse(body(error), error.status, error.headers)


def install(app: FastAPI) -> None:
    """Let every error of an application become JSON."""

    @app.exception_handler(ApiError)
    async def of_request(request: Request, error: ApiError) -> JSONResponse:
        return answer(error)

    @app.exception_handler(UserError)
    async def of_user(request: Request, error: UserError) -> JSONResponse:
        return answer(ApiError(400, str(error)))

    @app.exception_handler(RequestValidationError)
    async def of_field(request: Request, error: RequestValidationError) -> JSONResponse:
        return answer(_of_first_field(error))

    @app.exception_handler(HTTPException)
    async def of_route(request: Request, error: HTTPException) -> JSONResponse:
        message = {
            404: f"There is nothing at {request.url.path}.",
            405: f"{request.url.path} does not take {request.method}.",
        }.get(error.status_code, str(error.detail))
        return answer(ApiError(error.status_code, message, headers=error.headers))

    @app.exception_handler(Exception)
    async def of_program(request: Request, error: Exception) -> JSONResponse:
        # uvicorn logs the traceback.
        return answer(ApiError(500, "The server failed at this request. Its log says where."))


def _of_first_field(error: RequestValidationError) -> ApiError:
    """Return the error for the first field that is not what it must be."""
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ApiError(400, f"The body is no JSON: {first.get('ctx', {}).get('error', first['msg'])}.")
    if first["loc"] == ("body",):
        return ApiError(400, "The body must be a JSON object, sent with the header Content-Type: application/json.")
    path = [part for part in first["loc"] if part not in ("body", "query", "path")]
    # Behind the name of a field come places in its value, and names of types that it could have.
    name = str(path[0]) if path else None
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "there is no such field here, so leave it out"
    return ApiError(400, f"{name or 'The body'}: {message}.", param=name)
