# Reference values for the multilevel models: three levels, correlated and hierarchical effects,
# and one tau² per level.
# Rscript tests/reference/multilevel.R > tests/reference/multilevel.json
# The inputs are part of the file. Needs metafor, metadat, clubSandwich.

suppressMessages({
  library(metafor)
  library(clubSandwich)
})

number <- function(x) {
  x <- as.numeric(x)
  ifelse(is.finite(x), formatC(x, digits = 17, width = 1, format = "g"), "null")
}
vector_ <- function(x) paste0("[", paste(number(x), collapse = ", "), "]")
quote_ <- function(x) paste0("\"", x, "\"")
text <- function(x) paste0("[", paste(quote_(x), collapse = ", "), "]")
object <- function(...) {
  items <- unlist(list(...))
  paste0("{", paste0(quote_(names(items)), ": ", items, collapse = ", "), "}")
}

# ---- the optimum -----------------------------------------------------------------------------

# rma.mv stops when the likelihood is flat to about 1e-10, which leaves the variances at 1e-5 of
# their size (and refuses tighter settings as "not converged"). So the optimum is polished here by
# Newton steps on the score of the (restricted) likelihood, with zero as the lower bound, and
# rma.mv is run again with the variances fixed at the optimum. `effects` holds a design Z for each
# variance: M = V + Σ θ ZZ'.
likelihood <- function(theta, y, V, X, effects, reml) {
  M <- V
  for (i in seq_along(theta)) {
    Z <- effects[[i]]
    M <- M + theta[i] * if (is.null(Z)) diag(length(y)) else tcrossprod(Z)
  }
  root <- chol(M)
  W <- chol2inv(root)
  information <- crossprod(X, W %*% X)
  bread <- chol2inv(chol(information))
  WX <- W %*% X
  P <- W - WX %*% bread %*% t(WX)
  Py <- drop(P %*% y)
  k <- length(y)
  p <- ncol(X)
  value <- -sum(log(diag(root))) - sum(y * Py) / 2
  value <- value + if (reml) {
    -(k - p) / 2 * log(2 * pi) - as.numeric(determinant(information)$modulus) / 2 +
      as.numeric(determinant(crossprod(X))$modulus) / 2
  } else {
    -k / 2 * log(2 * pi)
  }
  list(value = value, W = W, P = P, Py = Py, bread = bread, M = M)
}

# Z'values; no Z stands for the identity, which costs nothing
gather <- function(Z, values) if (is.null(Z)) as.matrix(values) else crossprod(Z, values)

maximise <- function(start, y, V, X, effects, reml, fixed = rep(FALSE, length(start))) {
  theta <- start
  n <- length(theta)
  now <- likelihood(theta, y, V, X, effects, reml)
  for (iteration in 1:500) {
    kernel <- if (reml) now$P else now$W
    scores <- lapply(effects, gather, now$Py)
    expected <- observed <- matrix(0, n, n)
    score <- numeric(n)
    for (j in seq_len(n)) {
      products <- t(gather(effects[[j]], kernel))
      curved <- if (reml) products else t(gather(effects[[j]], now$P))
      score[j] <- sum(scores[[j]]^2) / 2
      for (i in seq_len(n)) {
        both <- gather(effects[[i]], products)
        if (i == j) score[j] <- score[j] - sum(diag(both)) / 2
        expected[i, j] <- sum(both^2) / 2
        curvature <- sum(scores[[i]] * gather(effects[[i]], curved %*% scores[[j]]))
        observed[i, j] <- curvature - expected[i, j]
      }
    }
    free <- !fixed & !(theta <= 0 & score <= 0)
    if (!any(free)) break
    matrix_ <- observed[free, free, drop = FALSE]
    if (min(eigen((matrix_ + t(matrix_)) / 2)$values) <= 0) matrix_ <- expected[free, free, drop = FALSE]
    step <- solve(matrix_, score[free])
    factor <- 1
    repeat {
      proposal <- theta
      proposal[free] <- pmax(theta[free] + factor * step, 0)
      after <- likelihood(proposal, y, V, X, effects, reml)
      if (after$value >= now$value - 1e-12 * (1 + abs(now$value)) || factor < 1e-6) break
      factor <- factor / 2
    }
    moved <- max(abs(proposal - theta))
    theta <- proposal
    now <- after
    if (moved <= 1e-13 * max(theta, diag(V) / 1e3)) break
  }
  list(theta = theta, value = now$value, fit = now)
}

# The 95 % profile-likelihood interval of one variance, to the last digits.
profile_interval <- function(index, best, y, V, X, effects, reml) {
  fixed <- seq_along(best$theta) == index
  excess <- function(value) {
    start <- best$theta
    start[index] <- value
    # the other variances may have been driven to zero where this one was large
    start[!fixed] <- pmax(start[!fixed], mean(diag(V)) / 100)
    there <- maximise(start, y, V, X, effects, reml, fixed)
    2 * (best$value - there$value) - qchisq(0.95, 1)
  }
  estimate <- best$theta[index]
  low <- 0
  if (estimate > 0 && excess(0) > 0) low <- uniroot(excess, c(0, estimate), tol = 1e-10)$root
  high <- estimate + mean(diag(V))
  while (excess(high) < 0) high <- 2 * high
  c(low, uniroot(excess, c(estimate, high), tol = 1e-10)$root)
}

# ---- one fit -----------------------------------------------------------------------------------

# Variances within a sample are correlated at rho.
sampling_covariance <- function(dat, rho) {
  as.matrix(vcalc(v, cluster = sample, obs = effect, rho = rho, data = dat))
}

incidence <- function(groups) 1 * outer(groups, unique(groups), "==")

fits <- c()
record <- function(name, set, moderators = "", rho = 0, tau2 = "REML", inference = "z",
                   intervals = FALSE, separate = FALSE, check = FALSE, null = NULL) {
  dat <- sets[[set]]
  dat$level <- relevel(factor(dat$level), references[[set]])
  formula <- as.formula(paste("~", if (moderators == "") "1" else moderators))
  single <- !any(duplicated(dat$study))
  three_level <- rho == 0
  V <- sampling_covariance(dat, rho)
  X <- model.matrix(formula, dat)
  y <- dat$y
  k <- length(y)
  p <- ncol(X)
  reml <- tau2 == "REML"

  study <- incidence(dat$study)
  effect <- diag(k)
  if (separate) {
    of_level <- lapply(levels(dat$level), function(l) 1 * (dat$level == l))
    effects <- lapply(of_level, "*", study)
    components <- paste0(if (single) "tau2" else "tau2_between", "[level=", levels(dat$level), "]")
    if (!single) {
      effects <- c(effects, lapply(of_level, "*", effect))
      components <- c(components, paste0("tau2_within[level=", levels(dat$level), "]"))
    }
  } else {
    effects <- list(study, NULL)
    components <- c("tau2_between", "tau2_within")
  }
  n_levels <- nlevels(dat$level)
  q <- length(components)
  fit_rma <- function(theta = NULL) {
    test <- if (inference == "t") "t" else "z"
    common <- list(yi = y, V = V, mods = formula, data = dat, method = tau2, test = test)
    arguments <- if (!separate) {
      list(random = ~ 1 | study / effect, sigma2 = theta)
    } else if (single) {
      list(random = ~ level | study, struct = "DIAG", tau2 = theta)
    } else {
      list(
        random = list(~ level | study, ~ level | effect), struct = c("DIAG", "DIAG"),
        tau2 = theta[seq_len(n_levels)], gamma2 = theta[-seq_len(n_levels)]
      )
    }
    # one effect per study, or variances at zero: rma.mv warns, and is right all the same
    suppressWarnings(do.call(rma.mv, c(common, arguments[!sapply(arguments, is.null)])))
  }

  free <- fit_rma()
  found <- if (!separate) free$sigma2 else if (single) free$tau2 else c(free$tau2, free$gamma2)
  scale <- mean(dat$v)
  # several starts, as the likelihood of a variance at zero may have a second maximum
  starts <- list(found, rep(scale, q), rep(scale / 100, q), rev(found), rep(0, q))
  # an orthonormal basis of the design: uncentred years cost no digits
  basis <- qr.Q(qr(X))
  tries <- lapply(starts, maximise, y, V, basis, effects, reml)
  best <- tries[[which.max(sapply(tries, `[[`, "value"))]]
  fit <- fit_rma(best$theta)
  value <- as.numeric(logLik(fit))
  stopifnot(
    abs(value - best$value) < 1e-8,
    # metafor's own optimum is no better, and close
    value >= as.numeric(logLik(free)) - 1e-9,
    value - as.numeric(logLik(free)) < 1e-5
  )
  theta <- best$theta
  theta[theta < 1e-12 * scale] <- 0

  n_parameters <- p + q
  n_information <- if (reml) k - p else k
  values <- list(
    terms = text(colnames(X)), b = vector_(fit$b),
    components = do.call(object, as.list(setNames(number(theta), components))),
    log_likelihood = number(value),
    AIC = number(-2 * value + 2 * n_parameters),
    BIC = number(-2 * value + log(n_information) * n_parameters),
    AICc = number(-2 * value + 2 * n_parameters * max(n_information, n_parameters + 2) /
      (max(n_information, n_parameters + 2) - n_parameters - 1)),
    Q = number(fit$QE), Q_df = number(fit$k - fit$p), Q_p = number(fit$QEp)
  )
  statistics <- fit.stats_of(free, tau2)
  stopifnot(max(abs(statistics - as.numeric(values[c("AIC", "BIC", "AICc")]))) < 1e-4)

  # ---- coefficients
  critical <- NULL
  if (inference == "cr2") {
    ct <- coef_test(fit, vcov = "CR2", cluster = dat$study, test = "Satterthwaite")
    ci <- conf_int(fit, vcov = "CR2", cluster = dat$study)
    values <- c(values,
      se = vector_(ct$SE), df = vector_(ct$df_Satt), statistic = vector_(ct$tstat),
      p = vector_(ct$p_Satt), ci_low = vector_(ci$CI_L), ci_high = vector_(ci$CI_U)
    )
    critical <- qt(0.975, ct$df_Satt[1])
    se <- ct$SE[1]
  } else {
    values <- c(values,
      se = vector_(fit$se), statistic = vector_(fit$zval), p = vector_(fit$pval),
      ci_low = vector_(fit$ci.lb), ci_high = vector_(fit$ci.ub)
    )
    if (inference == "t") values <- c(values, df = vector_(rep(k - p, p)))
    critical <- if (inference == "t") qt(0.975, k - p) else qnorm(0.975)
    se <- fit$se[1]
  }
  if (p > 1) {
    if (inference == "cr2") {
      wald <- Wald_test(fit, constraints = constrain_zero(2:p), vcov = "CR2", cluster = dat$study)
      values <- c(values,
        QM = number(wald$Fstat), QM_df1 = number(p - 1), QM_df2 = number(wald$df_denom),
        QM_p = number(wald$p_val)
      )
    } else {
      values <- c(values,
        QM = number(fit$QM), QM_df1 = number(p - 1), QM_df2 = number(if (inference == "t") k - p else NA),
        QM_p = number(fit$QMp)
      )
    }
  }

  # ---- heterogeneity and prediction
  if (!separate) {
    WV <- solve(V)
    trace <- sum(diag(WV - WV %*% X %*% solve(t(X) %*% WV %*% X, t(X) %*% WV)))
    shares <- 100 * theta / (sum(theta) + (k - p) / trace)
    values <- c(values,
      I2 = number(sum(shares)), I2_between = number(shares[1]), I2_within = number(shares[2]),
      ICC = number(theta[1] / sum(theta))
    )
    if (p == 1) {
      half <- critical * sqrt(se^2 + sum(theta))
      values <- c(values, pi = vector_(fit$b[1] + c(-half, half)))
      if (inference != "cr2") {
        p_ <- predict(fit)
        stopifnot(abs(c(p_$pi.lb, p_$pi.ub) - (fit$b[1] + c(-half, half))) < 1e-9)
      }
      overall_variance[[paste(set, rho, tau2)]] <<- sum(theta)
    } else {
      without <- overall_variance[[paste(set, rho, tau2)]]
      stopifnot(!is.null(without))
      values <- c(values,
        tau2_without_moderators = number(without),
        R2 = number(max(0, 100 * (without - sum(theta)) / without))
      )
    }
  }
  if (intervals) {
    ends <- lapply(seq_len(q), profile_interval, best, y, V, basis, effects, reml)
    values$component_ci <- do.call(object, as.list(setNames(sapply(ends, vector_), components)))
    if (check) {
      theirs <- confint(free, control = list(tol = 1e-10))
      for (i in seq_len(q)) {
        pair <- theirs[[i]]$random[1, c("ci.lb", "ci.ub")]
        stopifnot(abs(pair - ends[[i]]) < 1e-5)
      }
    }
  }

  # ---- estimated marginal means of the levels, numeric moderators at their means
  if (grepl("level", moderators) && !grepl("[*:(]", moderators)) {
    centred <- dat
    for (x in c("x", "year")) {
      if (x %in% names(dat)) centred[[x]] <- dat[[x]] - mean(dat[[x]])
    }
    means <- update(fit, mods = as.formula(paste("~ 0 +", moderators)), data = centred)
    rows <- seq_len(n_levels)
    stopifnot(rownames(means$b)[rows] == paste0("level", levels(dat$level)))
    if (inference == "cr2") {
      ci <- conf_int(means, vcov = "CR2", cluster = dat$study)
      direct <- linear_contrast(means,
        vcov = "CR2", cluster = dat$study, contrasts = diag(length(means$b)), level = 0.95
      )
      stopifnot(abs(direct$CI_L - ci$CI_L) < 1e-9)
      low <- ci$CI_L
      high <- ci$CI_U
    } else {
      low <- means$ci.lb
      high <- means$ci.ub
    }
    values$levels <- object(
      names = text(levels(dat$level)), estimate = vector_(means$b[rows]),
      ci_low = vector_(low[rows]), ci_high = vector_(high[rows])
    )
  }

  # ---- studies: mean true effect of each, x̄'b + u, and its prediction error
  if (!separate && inference == "z" && sum(theta) > 0) {
    values$studies <- study_predictions(dat, best, basis, theta, fit)
  }

  head <- list(
    name = quote_(name), set = quote_(set),
    model = quote_(if (separate && single) "random_effects" else if (three_level) "three_level" else "che"),
    tau2 = quote_(tau2), inference = quote_(inference), moderators = quote_(moderators),
    reference = quote_(references[[set]]), rho = number(rho), separate_tau2 = if (separate) "true" else "false"
  )
  fits <<- c(fits, do.call(object, c(head, values)))
}

fit.stats_of <- function(fit, method) {
  fit$fit.stats[c("AIC", "BIC", "AICc"), if (method == "REML") "REML" else "ML"]
}

# Henderson (1975): with M = V + ZGZ', C = GZ' and Σ = (X'M⁻¹X)⁻¹,
#   û = C P y, var(û − u) = G − C P C', cov(b − β, û − u) = −Σ X'M⁻¹C'.
study_predictions <- function(dat, best, basis, theta, fit) {
  ids <- unique(dat$study)
  Z <- incidence(dat$study)
  C <- theta[1] * t(Z)
  u <- drop(C %*% best$fit$Py)
  spread <- theta[1] * diag(length(ids)) - C %*% best$fit$P %*% t(C)
  means <- crossprod(Z, basis) / colSums(Z)
  bread <- best$fit$bread
  across <- -bread %*% crossprod(basis, best$fit$W) %*% t(C)
  error <- rowSums((means %*% bread) * means) + diag(spread) + 2 * rowSums(means * t(across))
  fixed <- drop(crossprod(Z, fit$X %*% fit$b)) / colSums(Z)
  if (theta[1] > 0) {
    theirs <- ranef(fit)[["study"]]
    rows <- match(as.character(ids), rownames(theirs))
    stopifnot(abs(theirs$intrcpt[rows] - u) < 1e-8, abs(theirs$se[rows]^2 - diag(spread)) < 1e-8)
  }
  object(
    study = vector_(ids), u = vector_(u), u_se = vector_(sqrt(diag(spread))),
    estimate = vector_(fixed + u), se = vector_(sqrt(error))
  )
}

overall_variance <- list()

# ---- data ----------------------------------------------------------------------------------------

set.seed(20252)
LEVELS <- c("client", "observer", "therapist")

# `samples` per study and `sizes` effects per sample; the level varies within studies or not
simulate <- function(n_studies, samples, sizes, tau2_between, tau2_within, rho = 0.6,
                     level_of = c("effect", "study")) {
  level_of <- match.arg(level_of)
  n_samples <- samples(n_studies)
  study_of_sample <- rep(seq_len(n_studies), n_samples)
  n_effects <- sizes(length(study_of_sample))
  sample <- rep(seq_along(study_of_sample), n_effects)
  study <- study_of_sample[sample]
  k <- length(sample)
  n <- base::sample(15:250, length(study_of_sample), replace = TRUE)[sample]
  # unequal variances within a sample, as conversions from other statistics give
  v <- round(runif(k, 0.8, 1.6) / (n - 3), 6)
  level <- if (level_of == "effect") base::sample(LEVELS, k, TRUE) else base::sample(LEVELS, n_studies, TRUE)[study]
  x <- round(rnorm(n_studies, 0, 9))[study]
  shared <- rnorm(length(study_of_sample))[sample]
  error <- sqrt(v) * (sqrt(rho) * shared + sqrt(1 - rho) * rnorm(k))
  u <- rnorm(n_studies, 0, sqrt(tau2_between))[study]
  y <- 0.28 + 0.08 * (level == "observer") + u + rnorm(k, 0, sqrt(tau2_within)) + error
  data.frame(study, sample, effect = seq_len(k), y = round(y, 4), v, level, x)
}
one <- function(n) rep(1, n)
up_to <- function(m) function(n) base::sample(m, n, replace = TRUE)

published <- function(study, y, v, level, ...) {
  data.frame(study, sample = study, effect = seq_along(y), y = as.numeric(y), v = as.numeric(v), level, ...)
}
schools <- dat.konstantopoulos2011
assink <- dat.assink2016
sets <- list(
  schools = with(schools, published(district, yi, vi, "all", x = year)),
  assink = with(assink, published(study, yi, vi, deltype, x = pubstatus, year = year)),
  # one study alone measured covert delinquency; here are the levels that several have
  delinquency = with(subset(assink, deltype != "covert"), published(study, yi, vi, deltype, x = year)),
  samples = simulate(40, up_to(3), up_to(4), 0.02, 0.01),
  flat_within = simulate(30, one, up_to(5), 0.03, 0, rho = 0.85),
  flat_between = simulate(30, one, up_to(5), 0, 0.015, rho = 0.1),
  singles = simulate(45, one, one, 0.03, 0, level_of = "study"),
  pairs = simulate(45, one, up_to(5), 0.02, 0.02),
  # the likelihood has a maximum on the boundary and a higher one inside
  two_maxima = published(
    c(1, 2, 3, 4, 5, 5, 5, 6, 7, 8),
    c(0.1702, -0.2515, 0.1948, 0.2983, 0.5653, 0.2653, 0.3491, 0.0898, 0.7838, 0.2826),
    c(26, 724, 204, 11, 10, 13, 8, 12, 21, 26) / 1e4,
    LEVELS[c(2, 3, 3, 1, 3, 3, 3, 1, 1, 1)],
    x = c(0, 5, 4, -5, -2, -2, -2, 5, 6, 7)
  ),
  giant = simulate(31, one, function(n) c(60, rep(1, n - 1)), 0.02, 0.02)
)

references <- lapply(sets, function(dat) min(dat$level))
references[c("assink", "delinquency")] <- "general"

# ---- fits ----------------------------------------------------------------------------------------

for (tau2 in c("REML", "ML")) {
  for (inference in c("z", "t")) {
    for (moderators in c("", "x")) {
      record(paste("schools", tau2, inference, moderators), "schools", moderators,
        tau2 = tau2, inference = inference, intervals = inference == "z",
        check = inference == "z" && tau2 == "REML"
      )
    }
  }
}
for (rho in c(0, 0.2, 0.6, 0.9)) {
  for (moderators in c("", "level", "level + year", "x")) {
    record(paste("assink", rho, moderators), "assink", moderators, rho,
      inference = "cr2", intervals = rho == 0.6, check = rho == 0.6 && moderators == ""
    )
  }
  for (moderators in c("", "level", "level + x")) {
    record(paste("delinquency", rho, moderators), "delinquency", moderators, rho, inference = "cr2")
  }
}
for (rho in c(0.3, 0.6)) {
  for (moderators in c("", "level", "level + x")) {
    record(paste("samples CR2", rho, moderators), "samples", moderators, rho,
      inference = "cr2", intervals = rho == 0.6 && moderators != "level + x"
    )
    record(paste("samples z", rho, moderators), "samples", moderators, rho, tau2 = if (rho == 0.3) "ML" else "REML")
  }
}
for (set in c("flat_within", "flat_between")) {
  for (moderators in c("", "level")) {
    for (inference in c("z", "cr2")) {
      record(paste(set, inference, moderators), set, moderators, if (set == "flat_within") 0.3 else 0.6,
        inference = inference, intervals = inference == "z"
      )
    }
  }
}
for (tau2 in c("REML", "ML")) {
  for (moderators in c("level", "level + x")) {
    record(paste("one tau2 per level", tau2, moderators), "singles", moderators, tau2 = tau2, separate = TRUE)
    for (rho in c(0, 0.6)) {
      record(paste("two tau2 per level", tau2, rho, moderators), "pairs", moderators, rho,
        tau2 = tau2, separate = TRUE
      )
    }
  }
}
record("two tau2 per level CR2", "pairs", "level", 0.6, separate = TRUE, inference = "cr2")
for (moderators in c("", "level", "x")) {
  record(paste("giant CR2", moderators), "giant", moderators, 0.6, inference = "cr2", intervals = moderators == "")
}

for (moderators in c("", "level + x")) {
  record(trimws(paste("two maxima", moderators)), "two_maxima", moderators, 0.9, tau2 = "ML")
}

as_set <- function(dat) {
  columns <- lapply(dat[names(dat) != "effect"], function(x) if (is.numeric(x)) vector_(x) else text(x))
  do.call(object, columns)
}
lines <- c(
  "{",
  paste0("\"versions\": ", object(
    R = quote_(getRversion()), metafor = quote_(packageVersion("metafor")),
    metadat = quote_(packageVersion("metadat")), clubSandwich = quote_(packageVersion("clubSandwich"))
  ), ","),
  "\"sets\": {",
  paste0(quote_(names(sets)), ": ", sapply(sets, as_set), collapse = ",\n"),
  "},",
  "\"fits\": [",
  paste(fits, collapse = ",\n"),
  "]",
  "}"
)
writeLines(lines)
