# Reference values for the location-scale model.
# Rscript tests/reference/location_scale.R > tests/reference/location_scale.json
# The inputs are part of the file. Needs metafor and metadat.
#
# metafor's own search stops at about 1e-5 in alpha, and its standard errors of alpha need a
# package for numeric Hessians. Here metafor's likelihood function is climbed further by
# Newton's method on Richardson-extrapolated differences, whose last Hessian gives the standard
# errors; metafor then computes everything else at these alpha.

suppressMessages({
  library(metafor)
  library(metadat)
})

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
bangert <- dat.bangertdrowns2004
bangert <- bangert[complete.cases(bangert[c("meta", "length", "ni")]), ]
bcg <- escalc("RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.colditz1994)
k <- 70
sim <- data.frame(
  year = round(runif(k, 1985, 2020)), dose = round(rexp(k), 2), g = rep(c(0, 1), length.out = k)
)
sim$vi <- round(1 / sample(15:300, k, replace = TRUE), 5)
sim$tau2 <- exp(-3.2 + 0.05 * (sim$year - 2000) + 0.8 * sim$g)
sim$yi <- round(0.25 + 0.1 * sim$dose + rnorm(k, 0, sqrt(sim$vi + sim$tau2)), 4)

column <- function(...) unname(cbind(...))
cases <- list(
  bangert_ni = list(d = bangert, X = column(1, bangert$ni), Z = column(1, bangert$ni / 100)),
  bangert_meta = list(d = bangert, X = column(rep(1, nrow(bangert))), Z = column(1, bangert$meta)),
  bangert_cells = list(
    d = bangert, X = column(rep(1, nrow(bangert))), Z = column(1 - bangert$meta, bangert$meta)
  ),
  bangert_two = list(
    d = bangert, X = column(1, bangert$meta, bangert$length),
    Z = column(1, bangert$meta, log(bangert$ni))
  ),
  bcg_ablat = list(d = bcg, X = column(1, bcg$ablat), Z = column(1, bcg$ablat)),
  bcg_constant = list(d = bcg, X = column(1, bcg$ablat), Z = column(rep(1, nrow(bcg)))),
  simulated_year = list(d = sim, X = column(1, sim$dose), Z = column(1, sim$year)),
  simulated_all = list(d = sim, X = column(1, sim$dose, sim$year), Z = column(1, sim$year, sim$g, sim$dose))
)

# central differences, extrapolated until steps of order h^8 are gone
hessian <- function(f, x, h) {
  n <- length(x)
  H <- matrix(0, n, n)
  second <- function(i, j, h) {
    a <- b <- rep(0, n)
    a[i] <- h[i]
    b[j] <- h[j]
    if (i == j) return((f(x + a) - 2 * f(x) + f(x - a)) / h[i]^2)
    (f(x + a + b) - f(x + a - b) - f(x - a + b) + f(x - a - b)) / (4 * h[i] * h[j])
  }
  for (i in 1:n) for (j in 1:i) H[i, j] <- H[j, i] <- extrapolate(function(s) second(i, j, s * h))
  H
}
gradient <- function(f, x, h) {
  sapply(seq_along(x), function(i) {
    e <- rep(0, length(x))
    e[i] <- h[i]
    extrapolate(function(s) (f(x + s * e) - f(x - s * e)) / (2 * s * h[i]))
  })
}
extrapolate <- function(g) {
  table <- sapply(c(1, 1 / 2, 1 / 4, 1 / 8), g)
  for (m in 1:3) table <- (4^m * table[-1] - table[-length(table)]) / (4^m - 1)
  table
}

polish <- function(case, method) {
  d <- case$d
  # an orthonormal basis of Z, so that steps suit every direction
  decomposition <- qr(case$Z)
  B <- qr.Q(decomposition) * sqrt(nrow(d))
  R <- qr.R(decomposition) / sqrt(nrow(d))
  f <- function(gamma) {
    metafor:::.ll.rma.ls(gamma,
      yi = as.numeric(d$yi), vi = d$vi, X = case$X, Z = B, reml = method == "REML", k = nrow(d),
      pX = ncol(case$X), alpha.val = rep(NA, ncol(B)), beta.val = NULL, verbose = FALSE,
      digits = NULL, REMLf = TRUE, link = "log", mZ = NULL, alpha.min = rep(-Inf, ncol(B)),
      alpha.max = rep(Inf, ncol(B)), alpha.transf = FALSE, tau2.min = 0, tau2.max = Inf,
      optbeta = FALSE
    )
  }
  own <- suppressWarnings(rma(
    d$yi, d$vi, mods = case$X, scale = case$Z, intercept = FALSE, method = method, skiphes = TRUE,
    control = list(eval.max = 1e4, iter.max = 1e4)
  ))
  gamma <- as.numeric(R %*% own$alpha)
  h <- rep(0.1, length(gamma))
  for (i in 1:12) {
    H <- hessian(f, gamma, h)
    step <- solve(H, gradient(f, gamma, h))
    gamma <- gamma - step
    if (max(abs(step)) < 1e-12) break
  }
  list(
    own = as.numeric(own$alpha), own_ll = as.numeric(logLik(own)),
    alpha = solve(R, gamma), va = solve(R) %*% solve(H) %*% t(solve(R))
  )
}

fits <- c()
for (name in names(cases)) {
  case <- cases[[name]]
  d <- case$d
  q <- ncol(case$Z)
  for (method in c("ML", "REML")) {
    p <- polish(case, method)
    se <- sqrt(diag(p$va))
    moderators <- if (q == 1) integer(0) else if (all(case$Z[, 1] == 1)) 2:q else 1:q
    constant <- rma(d$yi, d$vi,
      mods = case$X, intercept = FALSE, method = method,
      control = list(threshold = 1e-14, maxiter = 1e5)
    )
    for (test in c("z", "t", "knha", "adhoc")) {
      fit <- suppressWarnings(rma(
        d$yi, d$vi, mods = case$X, scale = case$Z, alpha = p$alpha, intercept = FALSE,
        method = method, test = test, skiphes = TRUE
      ))
      # metafor's own formulae for the scale part, whose Hessian it could not compute
      df <- if (test == "z") Inf else nrow(d) - q
      QS <- QS_p <- NA
      if (length(moderators)) {
        a <- p$alpha[moderators]
        QS <- as.numeric(a %*% solve(p$va[moderators, moderators], a))
        m <- length(moderators)
        if (test == "z") QS_p <- pchisq(QS, m, lower.tail = FALSE)
        else {
          QS <- QS / m
          QS_p <- pf(QS, m, df, lower.tail = FALSE)
        }
      }
      pi <- predict(fit)
      lrt <- 2 * (as.numeric(logLik(fit)) - as.numeric(logLik(constant)))
      fits <- c(fits, object(
        name = string(paste(name, method, test)), set = string(name), method = string(method),
        test = string(test), b = vector_(fit$b), se = vector_(fit$se),
        statistic = vector_(fit$zval), p = vector_(fit$pval), ci_low = vector_(fit$ci.lb),
        ci_high = vector_(fit$ci.ub), covariance = vector_(fit$vb),
        alpha = vector_(p$alpha), alpha_metafor = vector_(p$own), alpha_se = vector_(se),
        alpha_covariance = vector_(p$va),
        alpha_statistic = vector_(p$alpha / se),
        alpha_p = vector_(2 * pt(abs(p$alpha / se), df, lower.tail = FALSE)),
        alpha_ci_low = vector_(p$alpha - qt(.975, df) * se),
        alpha_ci_high = vector_(p$alpha + qt(.975, df) * se),
        tau2 = vector_(exp(case$Z %*% p$alpha)), Q = number(fit$QE), Q_p = number(fit$QEp),
        QM = number(fit$QM), QM_p = number(fit$QMp), QS = number(QS), QS_p = number(QS_p),
        log_likelihood = number(logLik(fit)),
        # the coefficients of the scale part are fixed here, and metafor counts free ones only
        aic = number(-2 * logLik(fit) + 2 * (fit$p + q)),
        lrt = number(lrt), lrt_p = number(pchisq(lrt, q - 1, lower.tail = FALSE)),
        pi = vector_(c(pi$pi.lb[1], pi$pi.ub[1]))
      ))
    }
  }
}

as_set <- function(case) {
  object(
    y = vector_(case$d$yi), v = vector_(case$d$vi), X = vector_(t(case$X)), Z = vector_(t(case$Z)),
    p = number(ncol(case$X)), q = number(ncol(case$Z))
  )
}
writeLines(c(
  "{",
  paste0("\"versions\": ", object(
    R = string(getRversion()), metafor = string(packageVersion("metafor"))
  ), ","),
  "\"sets\": {",
  paste0("\"", names(cases), "\": ", sapply(cases, as_set), collapse = ",\n"),
  "},",
  "\"fits\": [",
  paste(fits, collapse = ",\n"),
  "]",
  "}"
))
