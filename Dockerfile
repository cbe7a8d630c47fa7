# All processes of Barnabas: the package with the faster event loop and the admin API, and the example services. Compose
# builds it; your own image only needs the second stage's last lines with your own code in place of examples/.

FROM python:3.13-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY topics topics
COPY worker worker
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[admin,fast]'

FROM python:3.13-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'barnabas[admin,fast]'
RUN useradd --create-home barnabas
USER barnabas
WORKDIR /app
COPY examples examples
ENV PYTHONUNBUFFERED=1
ENTRYPOINT ["barnabas"]
