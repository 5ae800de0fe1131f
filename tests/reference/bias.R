# Reference values for publication bias on published data: regression and rank tests, trim and
# fill, excess significance, the Henmi-Copas interval, fail-safe numbers, and the same questions
# asked of dependent effects (V with correlated sampling errors, CR2).
# Rscript tests/reference/bias.R > tests/reference/bias.json
# The inputs are part of the file. Needs metafor, metadat, clubSandwich.

suppressMessages({
  library(metafor)
  library(clubSandwich)
})

# REML and ML converge to 1e-5 in metafor unless told otherwise
control <- list(threshold = 1e-14, maxiter = 1e5)

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
list_ <- function(x) paste0("[\n", paste(x, collapse = ",\n"), "\n]")

adherence <- escalc("ZCOR", ri = ri, ni = ni, data = dat.molloy2014)
interviews <- escalc("ZCOR", ri = ri, ni = ni, data = dat.mcdaniel1994)
bcg <- escalc("RR", ai = tpos, bi = tneg, ci = cpos, di = cneg, data = dat.bcg)
plain <- function(dat) data.frame(y = as.numeric(dat$yi), v = as.numeric(dat$vi))
sets <- list(
  adherence = plain(adherence),
  interviews = plain(interviews),
  bcg = plain(bcg),
  # tied effects and variances
  expectancy = plain(dat.raudenbush1985)
)

row_of <- function(fit, i) {
  object(
    b = number(coef(fit)[i]), se = number(fit$se[i]), p = number(fit$pval[i]),
    ci = vector_(c(fit$ci.lb[i], fit$ci.ub[i]))
  )
}
regression <- function(dat, method, test) {
  fit <- rma(y, v, data = dat, method = method, test = test, control = control)
  found <- regtest(fit, model = "rma", ret.fit = TRUE)
  peese <- rma(y, v, mods = ~v, data = dat, method = method, test = test, control = control)
  object(
    method = quote_(method), test = quote_(test),
    statistic = number(found$zval), p = number(found$pval),
    limit = vector_(c(found$est, found$ci.lb, found$ci.ub)),
    intercept = row_of(found$fit, 1), slope = row_of(found$fit, 2),
    peese = row_of(peese, 1), peese_slope = row_of(peese, 2)
  )
}
least_squares <- function(dat) {
  found <- regtest(dat$y, dat$v, model = "lm", ret.fit = TRUE)
  slopes <- coef(summary(found$fit))
  peese <- summary(lm(y ~ v, weights = 1 / v, data = dat))
  object(
    slope = number(slopes[2, 1]), se = number(slopes[2, 2]), statistic = number(found$zval),
    df = number(found$ddf), p = number(found$pval),
    limit = vector_(c(found$est, found$ci.lb, found$ci.ub)), limit_se = number(slopes[1, 2]),
    limit_p = number(slopes[1, 4]), peese = vector_(coef(peese)[1, ]),
    peese_slope = vector_(coef(peese)[2, ])
  )
}
moderated <- function() {
  dat <- transform(plain(dat.raudenbush1985), weeks = dat.raudenbush1985$weeks)
  fit <- rma(y, v, mods = ~weeks, data = dat, test = "knha", control = control)
  one <- regtest(fit, model = "rma", ret.fit = TRUE)
  two <- regtest(fit, model = "lm", ret.fit = TRUE)
  object(
    weeks = vector_(dat$weeks), slope = number(coef(one$fit)[3]), se = number(one$fit$se[3]),
    p = number(one$pval), lm_slope = number(coef(two$fit)[3]), lm_p = number(two$pval)
  )
}
filled <- function(dat, method, test) {
  fit <- rma(y, v, data = dat, method = method, test = test, control = control)
  rows <- c()
  for (estimator in c("L0", "R0", "Q0")) {
    for (side in c("left", "right")) {
      # the variance of k0 can come out negative, and its standard error empty
      found <- suppressWarnings(trimfill(
        fit,
        side = side, estimator = estimator, test = test, control = control
      ))
      rows <- c(rows, object(
        estimator = quote_(estimator), side = quote_(side), k0 = number(found$k0),
        k0_se = number(found$se.k0), k0_p = number(found$p.k0), estimate = number(found$b),
        se = number(found$se), ci = vector_(c(found$ci.lb, found$ci.ub)),
        tau2 = number(found$tau2), p = number(found$pval), y = vector_(found$yi[found$fill]),
        v = vector_(found$vi[found$fill])
      ))
    }
  }
  auto <- trimfill(fit, control = control)$side
  object(
    method = quote_(method), test = quote_(test), auto = quote_(auto), rows = list_(rows)
  )
}
excess <- function(dat, method) {
  fit <- rma(y, v, data = dat, method = method, control = control)
  # the exact test goes through all subsets
  tests <- if (nrow(dat) <= 16) c("exact", "chi2", "binom") else c("chi2", "binom")
  run <- function(test, ...) tes(fit, test = test, rel.tol = 1e-11, progbar = FALSE, ...)
  found <- lapply(tests, run, find.lim = FALSE)
  # metafor's own search for the limit ends within 1e-4
  gap <- function(theta) {
    tes(
      dat$y, dat$v,
      theta = theta, tau2 = fit$tau2, test = "chi2", find.lim = FALSE, rel.tol = 1e-11
    )$pval - 0.1
  }
  limit <- NA
  if (gap(0) < 0) {
    end <- coef(fit)
    while (gap(end) < 0) end <- 1.2 * end
    limit <- uniroot(gap, sort(c(0, end)), tol = 1e-12)$root
  }
  theirs <- suppressWarnings(tes(fit, test = "chi2"))$theta.lim
  stopifnot(is.na(limit) == is.na(theirs), is.na(limit) || abs(limit - theirs) < 1e-3)
  first <- found[[1]]
  object(
    method = quote_(method), theta = number(first$theta), tau2 = number(fit$tau2),
    observed = number(first$O), expected = number(first$E), power = vector_(first$power),
    tests = object(setNames(sapply(found, function(x) number(x$pval)), tests)),
    X2 = number(found[[which(tests == "chi2")]]$X2), limit = number(limit)
  )
}
robust_interval <- function(dat) {
  found <- hc(rma(y, v, data = dat, method = "DL"), control = list(tol = 1e-14))
  object(
    estimate = number(found$beta), se = number(found$se), tau2 = number(found$tau2),
    ci = vector_(c(found$ci.lb, found$ci.ub))
  )
}
fail_safe <- function(dat) {
  n <- function(...) number(fsn(y, v, data = dat, ...)$fsnum)
  object(
    rosenthal = n(type = "Rosenthal"), orwin = n(type = "Orwin", target = 0.1),
    orwin_weighted = n(type = "Orwin", weighted = TRUE, target = 0.1),
    orwin_half = n(type = "Orwin"), rosenberg = n(type = "Rosenberg")
  )
}
ranks <- function(dat) {
  found <- suppressWarnings(ranktest(dat$y, dat$v))
  object(tau = number(found$tau), p = number(found$pval))
}

univariate <- sapply(names(sets), function(name) {
  dat <- sets[[name]]
  object(
    y = vector_(dat$y), v = vector_(dat$v), rank = ranks(dat), lm = least_squares(dat),
    regressions = list_(c(
      regression(dat, "REML", "z"), regression(dat, "REML", "knha"),
      regression(dat, "DL", "z"), regression(dat, "FE", "z")
    )),
    trim_and_fill = list_(c(
      filled(dat, "FE", "z"), filled(dat, "DL", "z"), filled(dat, "REML", "knha")
    )),
    excess = list_(c(excess(dat, "FE"), excess(dat, "REML"))),
    henmi_copas = robust_interval(dat), fail_safe = fail_safe(dat)
  )
})

# dependent effects ---------------------------------------------------------------------------
correlation <- 0.6
sampling <- function(dat, rho) {
  same <- outer(dat$study, dat$study, "==") * rho
  diag(same) <- 1
  same * outer(sqrt(dat$v), sqrt(dat$v))
}
# rma.mv stops where the likelihood is flat, which leaves the variances at 1e-5 of their size: they
# are polished by steps of average information, and rma.mv is run again with them fixed
polish <- function(dat, X, V, theta) {
  parts <- list(1 * outer(dat$study, dat$study, "=="), diag(nrow(dat)))
  for (step in 1:100) {
    W <- solve(V + theta[1] * parts[[1]] + theta[2] * parts[[2]])
    P <- W - W %*% X %*% solve(t(X) %*% W %*% X, t(X) %*% W)
    Py <- P %*% dat$y
    pulls <- sapply(parts, function(Z) Z %*% Py)
    score <- sapply(1:2, function(i) sum(Py * pulls[, i]) - sum(P * parts[[i]]))
    moving <- theta > 0 | score > 0
    if (!any(moving)) break
    information <- (t(pulls) %*% P %*% pulls)[moving, moving, drop = FALSE]
    old <- theta
    theta[moving] <- pmax(theta[moving] + solve(information, score[moving]), 0)
    if (max(abs(theta - old)) < 1e-14) break
  }
  theta
}
nested <- function(dat, mods, rho) {
  V <- sampling(dat, rho)
  fit <- function(sigma2) {
    # studies that bring one effect, or a variance of zero: rma.mv warns, and is right
    suppressWarnings(
      rma.mv(y, V, mods = mods, random = ~ 1 | study / effect, data = dat, sigma2 = sigma2)
    )
  }
  free <- fit(NA)
  theta <- polish(dat, model.matrix(mods, dat), V, free$sigma2)
  stopifnot(max(abs(theta - free$sigma2)) < 1e-4 * max(theta))
  fit(theta)
}
robust_row <- function(fit, dat, i) {
  vcr <- vcovCR(fit, cluster = dat$study, type = "CR2")
  found <- coef_test(fit, vcov = vcr, test = "Satterthwaite")
  ends <- conf_int(fit, vcov = vcr, test = "Satterthwaite")
  object(
    b = number(found$beta[i]), se = number(found$SE[i]), df = number(found$df_Satt[i]),
    p = number(found$p_Satt[i]), ci = vector_(c(ends$CI_L[i], ends$CI_U[i]))
  )
}
multilevel <- function(dat, rho) {
  dat$effect <- seq_len(nrow(dat))
  egger <- nested(dat, ~ sqrt(v), rho)
  peese <- nested(dat, ~v, rho)
  plain <- nested(dat, ~1, rho)
  # composites are simple means; trimmed as independent, then filled into the effects
  groups <- split(seq_len(nrow(dat)), factor(dat$study, unique(dat$study)))
  composites <- data.frame(
    y = sapply(groups, function(i) mean(dat$y[i])),
    v = sapply(groups, function(i) {
      ((1 - correlation) * sum(dat$v[i]) + correlation * sum(sqrt(dat$v[i]))^2) / length(i)^2
    })
  )
  fit <- rma(y, v, data = composites, control = control)
  rows <- c()
  for (estimator in c("L0", "R0", "Q0")) {
    for (side in c("left", "right")) {
      found <- trimfill(fit, side = side, estimator = estimator, control = control)
      new <- which(found$fill)
      refit_data <- dat
      if (length(new)) {
        refit_data <- rbind(dat, data.frame(
          study = max(dat$study) + seq_along(new), y = as.numeric(found$yi[new]),
          v = found$vi[new], effect = max(dat$effect) + seq_along(new)
        ))
      }
      refit <- nested(refit_data, ~1, rho)
      rows <- c(rows, object(
        estimator = quote_(estimator), side = quote_(side), k0 = number(found$k0),
        k0_se = number(found$se.k0), fit = robust_row(refit, refit_data, 1),
        tau2 = number(sum(refit$sigma2))
      ))
    }
  }
  object(
    rho = number(rho), study = vector_(dat$study), y = vector_(dat$y), v = vector_(dat$v),
    mean = robust_row(plain, dat, 1), slope = robust_row(egger, dat, 2),
    intercept = robust_row(egger, dat, 1), peese = robust_row(peese, dat, 1),
    peese_slope = robust_row(peese, dat, 2), composite_rank = ranks(composites),
    trim_and_fill = list_(rows)
  )
}
assink <- dat.assink2016
schools <- dat.konstantopoulos2011
as_effects <- function(study, dat) {
  data.frame(study = as.numeric(study), y = as.numeric(dat$yi), v = as.numeric(dat$vi))
}
dependent <- c(
  delinquency = multilevel(as_effects(assink$study, assink), correlation),
  schools = multilevel(as_effects(schools$district, schools), 0)
)

writeLines(c(
  "{",
  paste0("\"versions\": ", object(
    R = quote_(getRversion()), metafor = quote_(packageVersion("metafor")),
    metadat = quote_(packageVersion("metadat")),
    clubSandwich = quote_(packageVersion("clubSandwich"))
  ), ","),
  "\"univariate\": {",
  paste0(quote_(names(univariate)), ": ", univariate, collapse = ",\n"),
  "},",
  paste0("\"moderated\": ", moderated(), ","),
  "\"dependent\": {",
  paste0(quote_(names(dependent)), ": ", dependent, collapse = ",\n"),
  "}",
  "}"
))
