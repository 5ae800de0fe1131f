# Reference values for the Bayesian random-effects model.
# Rscript tests/reference/bayes.R > tests/reference/bayes.json
# The inputs are part of the file. Base R only.
#
# No closed form of the posterior of mu or tau is used. Their densities are the joint density of
# mu and tau integrated numerically over the other one (double-exponential trapezoid over tau,
# trapezoid over mu), and the distribution functions these densities integrated once more by
# adaptive quadrature. A new effect and the studies' own effects are kriged given tau (generic
# matrix formulae) and integrated over tau by adaptive quadrature.

vector_ <- function(x) {
  x <- as.numeric(x)
  out <- ifelse(is.finite(x), formatC(x, digits = 17, format = "g"), "null")
  paste0("[", paste(out, collapse = ", "), "]")
}
number <- function(x) {
  out <- vector_(x)
  substr(out, 2, nchar(out) - 1)
}
string <- function(x) paste0("\"", x, "\"")
object <- function(...) {
  items <- list(...)
  paste0("{", paste0("\"", names(items), "\": ", unlist(items), collapse = ", "), "}")
}

set.seed(20181)
n30 <- sample(12:240, 30, replace = TRUE)
sets <- list(
  two = list(y = c(0.42, 0.13), v = c(0.02, 0.045), scale = 0.25),
  eight = list(y = c(28, 8, -3, 7, -1, 1, 18, 12), v = c(15, 10, 16, 11, 9, 11, 10, 18)^2, scale = 6),
  thirty = list(
    y = round(rnorm(30, 0.28, sqrt(0.03 + 1 / (n30 - 3))), 4), v = round(1 / (n30 - 3), 6), scale = 0.3
  )
)
prior_density <- function(family, scale) switch(family,
  half_normal = function(tau) 2 * dnorm(tau, 0, scale),
  half_cauchy = function(tau) 2 * dcauchy(tau, 0, scale),
  uniform = function(tau) rep(1, length(tau))
)

adaptive <- function(f, low, high) {
  integrate(f, low, high, rel.tol = 1e-12, abs.tol = 0, subdivisions = 2000, stop.on.error = FALSE)$value
}
# a quantile by Newton steps, each adding the integral over the step
find_quantile <- function(density, start, below, p) {
  x <- start
  F <- below
  for (i in 1:60) {
    step <- (p - F) / density(x)
    step <- sign(step) * min(abs(step), abs(x - start) + 1)
    if (abs(step) < 1e-14 * (1 + abs(x))) break
    F <- F + integrate(density, x, x + step, rel.tol = 1e-12, abs.tol = 1e-16, stop.on.error = FALSE)$value
    x <- x + step
  }
  x
}
find_shortest <- function(density, quantile, level, bounded) {
  g <- function(p) density(quantile(p)) - density(quantile(p + level))
  if (bounded && density(0) >= density(quantile(level))) return(c(0, quantile(level)))
  p <- uniroot(g, c(1e-6, 1 - level - 1e-6), tol = 1e-13)$root
  c(quantile(p), quantile(p + level))
}

fits <- c()
level <- 0.95
for (name in names(sets)) for (family in c("half_normal", "half_cauchy", "uniform")) {
  s <- sets[[name]]
  y <- s$y
  v <- s$v
  k <- length(y)
  if (family == "uniform" && k < 3) next
  for (mu_sd in if (family == "half_normal") c(Inf, s$scale) else Inf) {
  prior <- prior_density(family, s$scale)
  mu_prior <- if (is.finite(mu_sd)) function(mu) dnorm(mu, 0, mu_sd) else function(mu) rep(1, length(mu))
  unit <- sqrt(mean(v))

  # over tau: tau = unit * exp(pi / 2 * sinh(t)), trapezoid in t
  t <- seq(-4.2, 4.2, length.out = 501)
  tau <- unit * exp(pi / 2 * sinh(t))
  dtau <- tau * pi / 2 * cosh(t) * (t[2] - t[1])
  log_peak <- sum(dnorm(y, weighted.mean(y, 1 / (v + var(y))), sqrt(v + var(y)), log = TRUE))
  joint <- function(mu, tau) { # vectors of the same length
    ll <- rep(-log_peak, length(mu))
    for (i in 1:k) ll <- ll + dnorm(y[i], mu, sqrt(v[i] + tau^2), log = TRUE)
    exp(ll) * prior(tau) * mu_prior(mu)
  }
  mu_density0 <- function(mu) sapply(mu, function(m) sum(joint(rep(m, length(tau)), tau) * dtau))
  centre <- weighted.mean(y, 1 / (v + var(y)))
  spread <- sqrt(1 / sum(1 / (v + var(y))))
  # over mu, with mu = centre + spread * sinh(s): the tails fall algebraically at large tau
  known <- new.env()
  mu_sum <- function(tau) {
    # the adaptive rules come back to the same tau
    sapply(tau, function(s) {
      key <- sprintf("%a", s)
      if (!is.null(known[[key]])) return(known[[key]])
      inside <- asinh(10 * sqrt((min(v) + s^2)) / spread + diff(range(y)) / spread + 40)
      u <- seq(-inside, inside, length.out = 401)
      mu <- centre + spread * sinh(u)
      known[[key]] <- sum(joint(mu, rep(s, length(mu))) * cosh(u)) * spread * (u[2] - u[1])
    })
  }
  total_mu <- adaptive(mu_density0, -Inf, centre) + adaptive(mu_density0, centre, Inf)
  mu_density <- function(mu) mu_density0(mu) / total_mu
  below <- adaptive(mu_density, -Inf, centre)
  mu_quantile <- function(p) find_quantile(mu_density, centre, below, p)

  # tau: splitting where the mass is
  half <- unit
  total_tau <- adaptive(mu_sum, 0, half) + adaptive(mu_sum, half, 4 * half) + adaptive(mu_sum, 4 * half, Inf)
  tau_density <- function(tau) mu_sum(tau) / total_tau
  tau_start <- unit / 2
  tau_below <- adaptive(tau_density, 0, tau_start)
  tau_quantile <- function(p) {
    if (p <= 0) return(0)
    g <- function(x) tau_below + integrate(tau_density, tau_start, x, rel.tol = 1e-12, abs.tol = 1e-16, stop.on.error = FALSE)$value - p
    x <- tau_start
    high <- unit
    while (g(high) < 0) high <- high * 2
    uniroot(g, c(0, high), tol = 1e-14 * unit)$root
  }
  split <- function(f) adaptive(f, 0, half) + adaptive(f, half, 4 * half) + adaptive(f, 4 * half, Inf)
  power <- c(half_normal = Inf, half_cauchy = 2, uniform = 0)[[family]] + k - is.infinite(mu_sd)
  tau_mean <- if (power > 2) split(function(x) x * tau_density(x)) else NA
  tau_sd <- if (power > 3) sqrt(split(function(x) (x - tau_mean)^2 * tau_density(x))) else NA
  mean_exists <- power > 2 || is.finite(mu_sd)
  sd_exists <- power > 3 || is.finite(mu_sd)
  both <- function(f) adaptive(f, -Inf, centre) + adaptive(f, centre, Inf)
  mu_mean <- if (mean_exists) both(function(x) x * mu_density(x)) else NA
  mu_sd_value <- if (sd_exists) sqrt(both(function(x) (x - mu_mean)^2 * mu_density(x))) else NA
  mode <- optimize(tau_density, c(0, tau_quantile(0.9)), maximum = TRUE, tol = 1e-10)$maximum
  if (tau_density(0) >= tau_density(mode)) mode <- 0

  # effects given tau: universal kriging, or simple kriging about the prior mean
  krige <- function(tau, target) {
    S <- diag(v + tau^2, nrow = k)
    c0 <- tau^2
    c1 <- rep(0, k)
    if (target > 0) c1[target] <- tau^2
    if (is.finite(mu_sd)) {
      S <- S + mu_sd^2
      c0 <- c0 + mu_sd^2
      c1 <- c1 + mu_sd^2
    }
    a <- solve(S, c1)
    mean <- sum(a * y)
    var <- c0 - sum(a * c1)
    if (is.infinite(mu_sd)) {
      one <- solve(S, rep(1, k))
      V <- 1 / sum(one)
      mu <- V * sum(one * y)
      mean <- mean + (1 - sum(a)) * mu
      var <- var + (1 - sum(a))^2 * V
    }
    c(mean, var)
  }
  read_effect <- function(target, mean_exists, sd_exists) {
    kriged <- new.env()
    given <- function(tau) sapply(tau, function(s) {
      key <- sprintf("%a", s)
      if (is.null(kriged[[key]])) kriged[[key]] <- krige(s, target)
      kriged[[key]]
    })
    F <- function(x) split(function(s) {
      m <- given(s)
      pnorm(x, m[1, ], sqrt(m[2, ])) * tau_density(s)
    })
    mean <- if (mean_exists) split(function(s) given(s)[1, ] * tau_density(s)) else NA
    sd <- if (sd_exists) {
      sqrt(split(function(s) {
        m <- given(s)
        (m[2, ] + (m[1, ] - mean)^2) * tau_density(s)
      }))
    } else NA
    quantile <- function(p) {
      uniroot(function(x) F(x) - p, centre + c(-1, 1) * 3 * unit, extendInt = "upX", tol = 1e-11 * unit)$root
    }
    list(c(mean, sd, quantile(0.5), quantile(0.025), quantile(0.975)), F)
  }
  new <- read_effect(0, mean_exists, sd_exists)
  thresholds <- c(0, centre, quantile(y, 0.75))
  q <- c(mu_quantile(0.5), mu_quantile(0.025), mu_quantile(0.975))
  tq <- c(tau_quantile(0.5), tau_quantile(0.025), tau_quantile(0.975))
  at <- tq[1] * c(0.2, 1, 2)
  fits <- c(fits, object(
    name = string(paste(name, family, mu_sd)), set = string(name), family = string(family),
    scale = number(s$scale), mu_sd = number(mu_sd), thresholds = vector_(thresholds),
    mu = vector_(c(mu_mean, mu_sd_value, q, find_shortest(mu_density, mu_quantile, level, FALSE))),
    tau = vector_(c(tau_mean, tau_sd, tq, find_shortest(tau_density, tau_quantile, level, TRUE))),
    tau_mode = number(mode), tau_at = vector_(at), tau_density = vector_(tau_density(at)),
    mu_at = vector_(q), mu_density = vector_(mu_density(q)),
    prediction = vector_(new[[1]]),
    first = vector_(read_effect(1, TRUE, TRUE)[[1]]),
    mu_above = vector_(sapply(thresholds, function(x) adaptive(mu_density, x, Inf))),
    prediction_above = vector_(sapply(thresholds, function(x) 1 - new[[2]](x)))
  ))
  }
}

as_set <- function(s) object(y = vector_(s$y), v = vector_(s$v))
writeLines(c(
  "{",
  paste0("\"versions\": ", object(R = string(getRversion())), ","),
  "\"sets\": {",
  paste0("\"", names(sets), "\": ", sapply(sets, as_set), collapse = ",\n"),
  "},",
  "\"fits\": [",
  paste(fits, collapse = ",\n"),
  "]",
  "}"
))
