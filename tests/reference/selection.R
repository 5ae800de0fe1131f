# Reference values for selection models (step functions, the beta model, prescribed weights), for
# p-uniform* and for the worst case of Mathur and VanderWeele (2020), on published data.
# Rscript tests/reference/selection.R > tests/reference/selection.json
# The inputs are part of the file. Needs metafor, metadat, robumeta.

suppressMessages({library(metafor); library(robumeta)})

number <- function(x) {
  x <- as.numeric(x)
  ifelse(is.finite(x), formatC(x, digits = 17, width = 1, format = "g"), "null")
}
vector_ <- function(x) paste0("[", paste(number(x), collapse = ", "), "]")
quote_ <- function(x) paste0("\"", x, "\"")
object <- function(...) {
  items <- unlist(list(...))
  paste0("{", paste0(quote_(names(items)), ": ", items, collapse = ", "), "}")
}

published <- function(y, v, x, study) {
  keep <- is.finite(y) & is.finite(v) & is.finite(x)
  data.frame(
    y = as.numeric(y)[keep], v = as.numeric(v)[keep], x = as.numeric(x)[keep],
    study = as.integer(factor(study[keep]))
  )
}
bcg <- escalc("RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
adherence <- escalc("ZCOR", ri = ri, ni = ni, data = dat.molloy2014)
interviews <- escalc("ZCOR", ri = ri, ni = ni, data = dat.mcdaniel1994)
reading <- dat.bangertdrowns2004
spouses <- dat.konstantopoulos2011
sets <- list(
  smoke = with(dat.hackshaw1998, published(yi, vi, as.numeric(year), seq_along(yi))),
  bcg = with(bcg, published(yi, vi, ablat, trial)),
  adherence = with(adherence, published(yi, vi, quality, seq_along(yi))),
  interviews = with(interviews, published(yi, vi, as.numeric(struct == "s"), study)),
  writing = with(reading, published(yi, vi, length, id)),
  schools = with(spouses, published(yi, vi, year, district)),
  smoking = with(dat.baskerville2012, published(smd, se^2, blind, seq_along(smd)))
)

# second derivatives by central differences, extrapolated twice
hessian <- function(f, x) {
  n <- length(x)
  size <- pmax(abs(x), 1e-2) * 2e-3
  at <- function(h) {
    H <- matrix(0, n, n)
    f0 <- f(x)
    for (i in seq_len(n)) for (j in seq_len(i)) {
      ei <- ej <- rep(0, n)
      ei[i] <- h[i]
      ej[j] <- h[j]
      H[i, j] <- if (i == j) {
        (f(x + ei) - 2 * f0 + f(x - ei)) / h[i]^2
      } else {
        (f(x + ei + ej) - f(x + ei - ej) - f(x - ei + ej) + f(x - ei - ej)) / (4 * h[i] * h[j])
      }
      H[j, i] <- H[i, j]
    }
    H
  }
  one <- at(size)
  two <- at(size / 2)
  three <- at(size / 4)
  ((16 * (4 * three - two) / 3) - (4 * two - one) / 3) / 15
}

# the beta model with one-sided p-values by Simpson's rule: metafor's integrals over the whole line
# are good for three digits only, as the weights have kinks
beta_likelihood <- function(y, v, X) {
  edge <- qnorm(1e-5, lower.tail = FALSE)
  n <- 2000
  z <- seq(-edge, edge, length.out = n + 1)
  simpson <- c(1, rep(c(4, 2), n / 2 - 1), 4, 1) * (2 * edge / n) / 3
  logs <- function(z) {
    z <- pmin(pmax(z, -edge), edge)
    cbind(pnorm(z, lower.tail = FALSE, log.p = TRUE), pnorm(z, log.p = TRUE))
  }
  at_nodes <- logs(z)
  own <- logs(y / sqrt(v))
  ends <- logs(c(-edge, edge))
  function(par) {
    p <- ncol(X)
    mu <- c(X %*% par[1:p])
    s <- sqrt(v + par[p + 1])
    power <- par[p + 2:3] - 1
    w <- c(exp(at_nodes %*% power)) * simpson
    tails <- exp(ends %*% power)
    sigma <- sqrt(v)
    inside <- c(dnorm((outer(sigma, z) - mu) / s) %*% w) * sigma / s
    A <- inside + tails[1] * pnorm((-edge * sigma - mu) / s) +
      tails[2] * pnorm((edge * sigma - mu) / s, lower.tail = FALSE)
    -sum(own %*% power + dnorm(y, mu, s, log = TRUE) - log(A))
  }
}

# standard errors from metafor's own likelihood, in natural parameters as selmodel has them
standard_errors <- function(fit, random) {
  steps <- c(fit$steps)
  ll <- get(".selmodel.ll.stepfun", asNamespace("metafor"))
  p <- fit$p
  fixed <- fit$delta.fix
  full <- c(fit$beta, fit$tau2, fit$delta)
  free <- c(rep(TRUE, p), random, !fixed)
  likelihood <- function(par) {
    ll(par,
      yi = c(fit$yi), vi = fit$vi, X = fit$X, preci = rep(1, fit$k), k = fit$k, pX = p,
      pvals = fit$pvals, deltas = fit$deltas, delta.val = rep(NA, fit$deltas),
      delta.transf = FALSE, mapfun = rep(NA, fit$deltas), delta.min = fit$delta.min,
      delta.max = fit$delta.max, tau2.val = NA, tau2.transf = FALSE, tau2.max = Inf,
      beta.val = rep(NA, p), wi.fun = fit$wi.fun, steps = steps, pgrp = fit$pgrp,
      alternative = fit$alternative, pval.min = fit$pval.min, intCtrl = list(), verbose = FALSE,
      digits = 4
    )
  }
  if (fit$type == "beta") likelihood <- beta_likelihood(c(fit$yi), fit$vi, fit$X)
  objective <- function(x) {
    par <- full
    par[free] <- x
    likelihood(par)
  }
  # metafor's optimum, polished on metafor's likelihood
  low <- c(rep(-Inf, p), 0, rep(1e-5, fit$deltas))[free]
  best <- nlminb(full[free], objective, lower = low, control = list(rel.tol = 1e-15, x.tol = 1e-12))
  full[free] <- best$par
  se <- rep(NA, length(full))
  # at the bound of tau2 the other standard errors are those without it
  if (full[p + 1] < 1e-9) {
    full[p + 1] <- 0
    free[p + 1] <- FALSE
  }
  H <- hessian(objective, full[free])
  se[free] <- sqrt(diag(solve(H)))
  list(
    par = full, se = se, ll = -best$objective, p = p
  )
}

fits <- c()
record <- function(set, type, alternative, random = TRUE, steps = NA, delta = NULL, mods = FALSE) {
  dat <- sets[[set]]
  base <- rma(y, v,
    mods = if (mods) ~x else ~1, data = dat, method = if (random) "ML" else "FE",
    control = list(threshold = 1e-14, maxiter = 1e5)
  )
  control <- if (type == "stepfun") list(reltol = 1e-15, maxit = 2000) else list()
  arguments <- list(base,
    type = type, alternative = alternative, control = control, skiphes = TRUE
  )
  if (type == "stepfun") arguments$steps <- steps
  if (!is.null(delta)) arguments$delta <- delta
  fit <- suppressWarnings(do.call(selmodel, arguments))
  polished <- standard_errors(fit, random)
  p <- polished$p
  at <- p + 1
  later <- if (type == "stepfun") (p + 3):length(polished$par) else (p + 2):length(polished$par)
  if (!is.null(delta)) later <- integer(0)
  lrt <- max(0, 2 * (polished$ll - fit$ll0))
  values <- list(
    set = quote_(set), type = quote_(type), alternative = quote_(alternative),
    random = if (random) "true" else "false", moderator = if (mods) "true" else "false",
    steps = if (type == "stepfun") vector_(steps) else "[]",
    weights = if (is.null(delta)) "null" else vector_(delta),
    beta = vector_(polished$par[1:p]), beta_se = vector_(polished$se[1:p]),
    tau2 = number(polished$par[at]), tau2_se = number(polished$se[at]),
    delta = if (length(later)) vector_(polished$par[later]) else "[]",
    delta_se = if (length(later)) vector_(polished$se[later]) else "[]",
    log_likelihood = number(polished$ll), metafor_log_likelihood = number(fit$ll),
    metafor_beta = vector_(fit$beta), metafor_tau2 = number(fit$tau2),
    lrt = if (is.null(delta)) number(lrt) else "null",
    lrt_df = number(fit$LRTdf), lrt_p = number(if (is.null(delta)) pchisq(lrt, fit$LRTdf, lower.tail = FALSE) else NA),
    tau2_p = number(if (random) fit$LRTp.tau2 else NA)
  )
  fits <<- c(fits, object(values))
}

for (random in c(TRUE, FALSE)) {
  record("smoke", "stepfun", "greater", random, 0.025)
  record("smoke", "stepfun", "greater", random, c(0.025, 0.5))
  record("smoke", "stepfun", "greater", random, c(0.025, 0.10, 0.50))
  record("smoke", "stepfun", "two.sided", random, c(0.05, 0.3))
  record("bcg", "stepfun", "less", random, 0.025)
  record("adherence", "stepfun", "greater", random, c(0.025, 0.5))
}
record("interviews", "stepfun", "greater", TRUE, 0.025)
record("interviews", "stepfun", "greater", TRUE, c(0.01, 0.05, 0.5))
record("interviews", "stepfun", "greater", TRUE, 0.025, mods = TRUE)
record("writing", "stepfun", "greater", TRUE, c(0.025, 0.5), mods = TRUE)
record("writing", "stepfun", "two.sided", TRUE, 0.05)
record("schools", "stepfun", "greater", TRUE, c(0.025, 0.5))
record("smoking", "stepfun", "greater", TRUE, 0.025)
record("smoking", "beta", "greater")
record("smoke", "beta", "greater")
cuts <- c(0.005, 0.01, 0.05, 0.10, 0.25, 0.35, 0.50, 0.65, 0.75, 0.90, 0.95, 0.99, 0.995)
patterns <- list(
  c(1, 0.99, 0.95, 0.80, 0.75, 0.65, 0.60, 0.55, 0.50, 0.50, 0.50, 0.50, 0.50, 0.50),
  c(1, 0.99, 0.90, 0.75, 0.60, 0.50, 0.40, 0.35, 0.30, 0.25, 0.10, 0.10, 0.10, 0.10),
  c(1, 0.99, 0.95, 0.90, 0.80, 0.75, 0.60, 0.60, 0.75, 0.80, 0.90, 0.95, 0.99, 1.00),
  c(1, 0.99, 0.90, 0.75, 0.60, 0.50, 0.25, 0.25, 0.50, 0.60, 0.75, 0.90, 0.99, 1.00)
)
for (weights in patterns) {
  record("adherence", "stepfun", "greater", TRUE, cuts, weights)
  record("smoke", "stepfun", "greater", TRUE, cuts, weights)
}

# p-uniform* by maximum likelihood (van Aert and van Assen), written out: each density is divided
# by the probability of its own side of the critical value
p_uniform <- function(set, alternative) {
  dat <- sets[[set]]
  sign <- if (alternative == "less") -1 else 1
  y <- sign * dat$y
  v <- dat$v
  cut <- qnorm(0.975) * sqrt(v)
  hit <- y >= cut
  ll <- function(mu, tau2) {
    s <- sqrt(v + tau2)
    sum(dnorm(y, mu, s, log = TRUE)) -
      sum(pnorm(cut[hit], mu, s[hit], lower.tail = FALSE, log.p = TRUE)) -
      sum(pnorm(cut[!hit], mu, s[!hit], log.p = TRUE))
  }
  climb <- function(f, starts, low) {
    ends <- lapply(starts, function(s) {
      nlminb(s, function(x) -f(x), lower = low, control = list(rel.tol = 1e-15, x.tol = 1e-13, iter.max = 1000, eval.max = 2000))
    })
    ends[[which.min(sapply(ends, function(e) e$objective))]]
  }
  typical <- mean(v)
  starts <- list(c(mean(y), 0), c(mean(y), typical), c(0, var(y)), c(mean(y) / 2, typical / 10))
  best <- climb(function(x) ll(x[1], x[2]), starts, c(-Inf, 0))
  top <- -best$objective
  est <- best$par
  at_mu <- function(mu) {
    -climb(function(x) ll(mu, x), list(0, typical, est[2], 4 * var(y)), 0)$objective
  }
  at_tau2 <- function(tau2) {
    -climb(function(x) ll(x, tau2), list(est[1], 0, mean(y)), -Inf)$objective
  }
  reach <- qchisq(0.95, 1) / 2
  solve_for <- function(f, inner, outer) {
    uniroot(function(x) top - f(x) - reach, sort(c(inner, outer)), tol = 1e-13)$root
  }
  end <- function(f, inner, direction, unit) {
    outer <- inner + direction * unit
    while (top - f(outer) < reach) {
      unit <- 2 * unit
      outer <- inner + direction * unit
    }
    solve_for(f, inner, outer)
  }
  unit <- sqrt(typical)
  ci <- c(end(at_mu, est[1], -1, unit), end(at_mu, est[1], 1, unit))
  low2 <- if (top - at_tau2(0) < reach) 0 else solve_for(at_tau2, 0, est[2])
  high2 <- end(at_tau2, est[2], 1, typical)
  pm <- rma(yi = y, vi = v, method = "PM", control = list(tol = 1e-15, maxiter = 1e4))
  lrt_mu <- 2 * (top - at_mu(0))
  lrt_tau2 <- 2 * (top - at_tau2(0))
  lrt_bias <- 2 * (top - ll(c(pm$b), pm$tau2))
  object(list(
    set = quote_(set), alternative = quote_(alternative), estimate = number(sign * est[1]),
    ci = vector_(sort(sign * ci)), tau2 = number(est[2]), tau2_ci = vector_(c(low2, high2)),
    log_likelihood = number(top), lrt_mu = number(lrt_mu), lrt_tau2 = number(lrt_tau2),
    lrt_bias = number(lrt_bias), k_significant = number(sum(hit))
  ))
}
uniform <- c(
  p_uniform("smoke", "greater"), p_uniform("adherence", "greater"), p_uniform("bcg", "less"),
  p_uniform("writing", "greater"), p_uniform("interviews", "greater")
)

# Mathur and VanderWeele (2020): weights of nonaffirmative effects times the selection ratio
worst <- function(set, clustered) {
  dat <- sets[[set]]
  if (!clustered) dat$study <- seq_along(dat$y)
  k <- nrow(dat)
  affirmative <- 2 * pnorm(abs(dat$y) / sqrt(dat$v), lower.tail = FALSE) < 0.05 & dat$y > 0
  tau2 <- rma(y, v, data = dat, control = list(threshold = 1e-14, maxiter = 1e5))$tau2
  robust <- function(part, ratio) {
    dat$u <- ifelse(affirmative, 1, ratio) / (dat$v + tau2)
    fit <- robu(y ~ 1, studynum = study, data = dat[part, ], userweights = u, var.eff.size = v, small = TRUE)
    c(fit$reg_table$b.r, fit$reg_table$SE, fit$reg_table$dfs, fit$reg_table$CI.L, fit$reg_table$CI.U)
  }
  ratios <- c(1, 2, 5, 20, 100)
  corrected <- sapply(ratios, function(ratio) robust(rep(TRUE, k), ratio))
  limit <- robust(!affirmative, 1)
  common <- sapply(ratios, function(ratio) {
    u <- ifelse(affirmative, 1, ratio)
    est <- sum(u * dat$y / dat$v) / sum(u / dat$v)
    c(est, sqrt(sum(u^2 / dat$v)) / sum(u / dat$v))
  })
  s_of <- function(f, worst) {
    if (f(1) <= 0) return(1)
    if (worst > 0) return(NA)
    exp(uniroot(function(x) f(exp(x)), c(0, log(1e6)), tol = 1e-12)$root)
  }
  object(list(
    set = quote_(set), clustered = if (clustered) "true" else "false", ratios = vector_(ratios),
    tau2 = number(tau2), estimate = vector_(corrected[1, ]), se = vector_(corrected[2, ]),
    df = vector_(corrected[3, ]), ci_low = vector_(corrected[4, ]), ci_high = vector_(corrected[5, ]),
    limit = vector_(limit), common = vector_(common[1, ]), common_se = vector_(common[2, ]),
    s_estimate = number(s_of(function(r) robust(rep(TRUE, k), r)[1], limit[1])),
    s_interval = number(s_of(function(r) robust(rep(TRUE, k), r)[4], limit[4])),
    k_affirmative = number(sum(affirmative))
  ))
}
worst_cases <- c(
  worst("writing", FALSE), worst("adherence", FALSE), worst("schools", TRUE),
  worst("smoke", FALSE)
)

data_objects <- sapply(sets, function(d) {
  object(list(y = vector_(d$y), v = vector_(d$v), x = vector_(d$x), study = vector_(d$study)))
})
versions <- object(
  R = quote_(getRversion()), metafor = quote_(packageVersion("metafor")),
  metadat = quote_(packageVersion("metadat")), robumeta = quote_(packageVersion("robumeta"))
)
cat("{\n\"versions\": ", versions, ",\n\"data\": ", object(data_objects), ",\n\"fits\": [\n", sep = "")
cat(paste(fits, collapse = ",\n"))
cat("\n],\n\"p_uniform\": [\n")
cat(paste(uniform, collapse = ",\n"))
cat("\n],\n\"worst_case\": [\n")
cat(paste(worst_cases, collapse = ",\n"))
cat("\n]\n}\n")
