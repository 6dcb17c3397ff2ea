# One image, two processes: `darkroom api` and `darkroom worker` (fly.toml names them).
#   docker build -t darkroom . && docker run --env-file .env -p 8080:8080 darkroom
FROM node:24-slim AS vendor
# What the playground loads in the browser and the fonts of drawings, at the versions that package-lock.json pins.
WORKDIR /src
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY scripts/vendor scripts/vendor
RUN sh scripts/vendor

FROM python:3.11-slim AS build

ENV UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy
RUN pip install --no-cache-dir uv==0.13.8 && python -m venv --without-pip /app
WORKDIR /src
COPY pyproject.toml requirements.lock ./
# The lock also covers tests and the local stack, so it bounds versions here instead of being installed whole.
RUN uv pip install --no-cache --python /app/bin/python --constraint requirements.lock \
    --requirements pyproject.toml --extra models --extra vendors
COPY scripts/models scripts/models
COPY service/__init__.py service/__init__.py
COPY service/ops service/ops
RUN python scripts/models "$(command -v uv)" /app/share/darkroom/models
COPY scripts/fonts scripts/fonts
COPY --from=vendor /src/node_modules/@expo-google-fonts node_modules/@expo-google-fonts
RUN /app/bin/python scripts/fonts node_modules /app/share/darkroom/fonts
COPY README.md LICENSE NOTICE ./
COPY cli cli
COPY service service
COPY workers workers
COPY clients/js clients/js
COPY web web
COPY --from=vendor /src/web/playground/vendor web/playground/vendor
RUN uv pip install --no-cache --python /app/bin/python --no-deps .

FROM python:3.11-slim

RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin darkroom
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH PYTHONUNBUFFERED=1 DARKROOM_ENVIRONMENT=production
USER darkroom
WORKDIR /tmp
EXPOSE 8080
CMD ["darkroom", "api", "--host", "0.0.0.0", "--port", "8080"]
