# One Dockerfile for all of our images; BuildKit is not needed.
#   docker build .                                   all services in one image; `docker run` names one
#   docker build --build-arg SERVICE=enrollment .    one service
#   docker build --target sandbox .                  the Stripe and Milady sandboxes and the mail catcher
# Run it as `docker run IMAGE <package> api|consumers|relay|all|migrate`, or `docker run IMAGE bursar.main doctor`.
ARG PYTHON_IMAGE=python:3.13-slim


# --- our packages, each service with its migrations
FROM ${PYTHON_IMAGE} AS source
WORKDIR /source
COPY . .
ARG SERVICE=""
RUN mkdir /service /sandbox \
 && for home in shared/contracts shared/ledger shared/kit services/${SERVICE:-*} cli; do \
      cp -R $home/src/. /service/ || exit 1; \
      if [ -d $home/migrations ]; then cp -R $home/migrations /service/$(basename $home/src/*)/; fi; \
    done \
 && cp -R sandboxes/*/src/. deploy/mail_catcher.py /sandbox/ \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /service /sandbox \
 && chmod -R a+rX /service /sandbox


# --- third-party packages: one layer for all services, rebuilt only when a pin changes. `make lock` writes the two files.
FROM ${PYTHON_IMAGE} AS pip
ARG PIP_INDEX_URL
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python3 -m venv --without-pip /opt/venv

FROM pip AS service-dependencies
COPY deploy/services.txt /
RUN python3 -m pip --python /opt/venv/bin/python install --quiet --require-hashes --only-binary=:all: \
      --requirement /services.txt

FROM pip AS sandbox-dependencies
COPY deploy/sandboxes.txt /
RUN python3 -m pip --python /opt/venv/bin/python install --quiet --require-hashes --only-binary=:all: \
      --requirement /sandboxes.txt


# --- the base of our images
FROM ${PYTHON_IMAGE} AS runtime
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin bursar \
 && rm -rf /usr/local/bin/pip* /usr/local/lib/python3.*/site-packages/pip*
ENV PATH=/opt/venv/bin:$PATH PYTHONPATH=/opt/bursar \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1 \
    HTTP_HOST=0.0.0.0 HTTP_PORT=8000 HEALTHCHECK_PATH=/healthz
WORKDIR /opt/bursar
EXPOSE 8000
# Liveness, for orchestrators that restart; HEALTHCHECK_PATH=/readyz checks readiness instead.
HEALTHCHECK --interval=30s --timeout=6s --start-period=30s --retries=3 CMD ["python", "-S", "-c", \
  "import os, urllib.request as web; port = os.environ.get('INTERNAL_PORT') or os.environ['HTTP_PORT']; web.urlopen(f'http://127.0.0.1:{port}' + os.environ['HEALTHCHECK_PATH'], timeout=5)"]
# No shell: SIGTERM reaches Python, which drains.
ENTRYPOINT ["python", "-m"]


FROM runtime AS sandbox
COPY --from=sandbox-dependencies /opt/venv /opt/venv
COPY --from=source /sandbox /opt/bursar
RUN mkdir /mail /state && chown 10001:10001 /mail /state
ENV STRIPE_SANDBOX_HOST=0.0.0.0 STRIPE_SANDBOX_PORT=8000 MILADY_SANDBOX_HOST=0.0.0.0 MILADY_SANDBOX_PORT=8000 \
    IDENTITY_SANDBOX_HOST=0.0.0.0 IDENTITY_SANDBOX_PORT=8000 MAIL_DIR=/mail SMTP_PORT=10025
EXPOSE 10025
USER 10001:10001


FROM runtime AS service
ENV INTERNAL_HOST=0.0.0.0 INTERNAL_PORT=8001
EXPOSE 8001
COPY --from=service-dependencies /opt/venv /opt/venv
COPY --from=source /service /opt/bursar
USER 10001:10001
